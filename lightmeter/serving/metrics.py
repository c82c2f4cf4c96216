"""Counters of one server for Prometheus. Labels come from fixed lists, so that no client can make new ones."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

ROUTES = (
    *("/", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics"),
    *("/v1/predict", "/v1/models", "/v2", "/v2/health/live", "/v2/health/ready"),
)
_BELOW = ("/v1/models/", "/v2/models/")
OTHER = "other"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATUSES = (200, 307, 400, 401, 404, 405, 408, 413, 415, 422, 429, 500, 503, 504)


class Metrics:
    """The counters, in a registry of their own.

    Args:
        models: names of what is served; no others become labels.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, models: Sequence[str], version: str) -> None:
        self._models, self._version = tuple(models), version
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lightmeter_requests", "Requests answered", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "lightmeter_request_seconds",
            "From a request's first byte to its answer's last",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._images = Counter("lightmeter_images", "Pictures, by what was said", ["answer"], registry=self._registry)
        self.inside = Gauge("lightmeter_requests_inside", "Requests that hold a place", registry=self._registry)
        self._parts = Histogram(
            "lightmeter_part_seconds",
            "Of a request: decoding, waiting for its turn, the graph",
            ["part"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._shadows = Counter(
            "lightmeter_shadow_images", "Answers of a shadow", ["model", "agrees"], registry=self._registry
        )
        self._failed = Counter(
            "lightmeter_shadow_failures", "Requests that a shadow did not answer", ["model"], registry=self._registry
        )
        self._reloads = Counter(
            "lightmeter_reloads", "Changed bundles that were loaded", ["model", "result"], registry=self._registry
        )
        self._about = Gauge(
            "lightmeter_bundle", "What is served", ["model", "bundle", "version"], registry=self._registry
        )

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        route = path if path in ROUTES else OTHER
        for start in _BELOW:
            name, _, rest = path.removeprefix(start).partition("/")
            if path.startswith(start) and name in self._models:
                route = f"{start}NAME" + ("/infer" if rest.endswith("infer") else "")
        self._requests.labels(route, str(status) if status in _STATUSES else OTHER).inc()
        self._seconds.labels(route).observe(seconds)

    def images(self, *, label: int = 0, abstain: int = 0, refused: int = 0) -> None:
        """Count pictures that got a label, an abstention, or none because they could not be read."""
        for answer, count in (("label", label), ("abstain", abstain), ("refused", refused)):
            self._images.labels(answer).inc(count)

    def parts(self, decode: float, queue: float, inference: float) -> None:
        """The seconds that each part of a request took."""
        for part, seconds in (("decode", decode), ("queue", queue), ("inference", inference)):
            self._parts.labels(part).observe(seconds)

    def shadowed(self, model: str, agree: int, differ: int) -> None:
        """Count answers of a shadow that were and were not those that were given."""
        self._shadows.labels(model, "yes").inc(agree)
        self._shadows.labels(model, "no").inc(differ)

    def shadow_failed(self, model: str) -> None:
        """Count a request that a shadow did not answer."""
        self._failed.labels(model).inc()

    def bundle(self, model: str, seal: str) -> None:
        """What is served under a name from now on."""
        for labels in [found.labels for metric in self._about.collect() for found in metric.samples]:
            if labels["model"] == model:
                self._about.remove(model, labels["bundle"], self._version)
        self._about.labels(model, seal, self._version).set(1)

    def reloads(self, model: str, result: str) -> None:
        """Count a bundle that was exchanged ("done") or that failed ("refused")."""
        self._reloads.labels(model, result).inc()

    def text(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self._registry)

"""Counters of one server for Prometheus. Labels come from fixed lists, so that no client can make new ones."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

ROUTES = ("/v1/predict", "/v1/model", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json")
OTHER = "other"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_STATUSES = (200, 307, 400, 404, 405, 408, 413, 415, 422, 429, 500, 503)


class Metrics:
    """The counters, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, bundle: str, version: str) -> None:
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
        about = Gauge("lightmeter_bundle", "What is served", ["bundle", "version"], registry=self._registry)
        about.labels(bundle, version).set(1)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        route = path if path in ROUTES else OTHER
        self._requests.labels(route, str(status) if status in _STATUSES else OTHER).inc()
        self._seconds.labels(route).observe(seconds)

    def images(self, *, label: int = 0, abstain: int = 0, refused: int = 0) -> None:
        """Count pictures that got a label, an abstention, or none because they could not be read."""
        for answer, count in (("label", label), ("abstain", abstain), ("refused", refused)):
            self._images.labels(answer).inc(count)

    def text(self) -> bytes:
        """What `/metrics` answers."""
        return generate_latest(self._registry)

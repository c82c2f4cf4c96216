"""The outermost layer of the server: keys, the gate, headers, counters and the log of every request; it meets every
exception.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightmeter.serving.keys import Keys
from lightmeter.serving.limits import Gate
from lightmeter.serving.metrics import Metrics
from lightmeter.serving.problems import Problem

_LOG = logging.getLogger(__name__)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer, unless the answer has its own."""


OPEN = ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/")
"""Answered without a key: probes, and the pages that say how to ask."""
_OPEN_BELOW = "/assets/"


class Shell:
    """ASGI middleware.

    Args:
        gate: asked about every request that wants a model to run.
        keys: who may ask anything but `OPEN`.
        log: told of every request that was answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        gate: Gate,
        keys: Keys | None = None,
        log: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.app, self.metrics, self.gate, self.keys, self.log = app, metrics, gate, keys, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; whatever escapes from it becomes a 500 without details."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started, holder = 0, time.perf_counter(), ""

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            if self.keys is not None and scope["path"] not in OPEN and not scope["path"].startswith(_OPEN_BELOW):
                holder = self.keys.admit(Headers(scope=scope))
                self.keys.spend(holder)
            if scope["method"] == "POST":  # the only requests for work
                self.gate.meet()
            await self.app(scope, receive, watch)
        except Problem as problem:
            await problem.response(protocol_v2=scope["path"].startswith("/v2"))(scope, receive, watch)
        except Exception:  # noqa: BLE001 - the last line before the client: logged whole, answered without details
            _LOG.exception("a request failed")
            if not status:
                failed = Problem(500, "internal", "The server failed.")
                await failed.response(protocol_v2=scope["path"].startswith("/v2"))(scope, receive, watch)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.request(scope["path"], status, seconds)
            if self.log is not None:
                told = {"method": scope["method"], "path": scope["path"][:200], "status": status}
                self.log({**told, "ms": round(1000 * seconds, 2), "key": holder})

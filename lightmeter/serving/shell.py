"""The outermost layer of the server: counts and times every request, adds headers, and meets every exception."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class Shell:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: Metrics, bundle: str) -> None:
        self.app, self.metrics, self.headers = app, metrics, {**HEADERS, "X-Lightmeter-Bundle": bundle}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; whatever escapes from it becomes a 500 without details."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, started = 0, time.perf_counter()

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception:  # noqa: BLE001 - the last line before the client: logged whole, answered without details
            _LOG.exception("a request failed")
            if not status:
                await Problem(500, "internal", "The server failed.").response()(scope, receive, watch)
        finally:
            self.metrics.request(scope["path"], status, time.perf_counter() - started)

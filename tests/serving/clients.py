"""A client that speaks to an application in this process, with its lifespan, from any thread."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any

import httpx
from fastapi import FastAPI

from lightmeter.nouns.bundle import Bundle
from lightmeter.serving.limits import Limits
from lightmeter.serving.shelf import Served, Shelf


def shelf(bundle: Bundle, limits: Limits | None = None) -> Shelf:
    """One bundle, served as "model"."""
    return Shelf([Served("model", bundle, limits or Limits())])


class Client:
    """`with Client(app) as client`; the application runs in an event loop of a thread of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server", timeout=60)
        self.lifespan = app.router.lifespan_context(app)

    def __enter__(self) -> Client:
        self.thread.start()
        self._wait(self.lifespan.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wait(self.lifespan.__aexit__(None, None, None))
        self._wait(self.http.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def get(self, path: str, **given: Any) -> httpx.Response:
        return self._wait(self.http.get(path, **given))

    def post(self, path: str, **given: Any) -> httpx.Response:
        return self._wait(self.http.post(path, **given))

    def _wait(self, awaitable: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(60)

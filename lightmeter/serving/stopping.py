"""uvicorn's server, which on SIGTERM first tells probes that it is about to go, and stops listening only then."""

from __future__ import annotations

import asyncio
import signal
from types import FrameType
from typing import Any

from uvicorn import Config, Server

from lightmeter.serving.engine import Engine


class Stopping(Server):
    """Told to stop by SIGTERM it is not ready any more but answers on for `drain_seconds`: long enough for whoever
    sends requests its way to learn that. Ctrl-C, or a second signal, stops it at once. Either way requests that are
    under way are answered first.
    """

    def __init__(self, config: Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: Any = None) -> None:
        """Listen."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by the signal."""
        first, self._engine.ready = self._engine.ready, False
        seconds = self._engine.limits.drain_seconds
        if sig == signal.SIGTERM and first and seconds and self._loop is not None:
            later = super().handle_exit
            self._loop.call_soon_threadsafe(self._loop.call_later, seconds, later, sig, frame)
        else:
            super().handle_exit(sig, frame)

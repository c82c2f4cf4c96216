"""Connections that are cut where the head of a request does not arrive in time, which uvicorn waits for without end.

A body that does not arrive is answered by 408 (`bodies`); before the head is whole there is nobody to answer.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


def patient(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol for HTTP, which waits so long for a request line and its headers."""

    class Patient(H11Protocol):
        _cut: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """Let the time run from the first byte that waits for more; a whole head ends it."""
            cycle: Any = self.cycle  # None before the first request, which its annotation does not say
            if cycle is not None and not cycle.response_complete:
                self._stop()
            elif self._cut is None:
                self._cut = self.loop.call_later(seconds, self.transport.close)

        def _stop(self) -> None:
            if self._cut is not None:
                self._cut.cancel()
                self._cut = None

    return Patient

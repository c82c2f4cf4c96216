"""Connections that are cut where a client neither sends nor reads, which uvicorn waits for without end.

A body that does not arrive is answered by 408 (`bodies`); before the head is whole there is nobody to answer, and after
the answer was written nobody may be there to read it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_LEAST = 16_384
"""Bytes of what is still to be read that a client must take in each turn."""


def patient(seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol for HTTP, which waits so long for a head, and as long for what was written to be read on."""

    class Patient(H11Protocol):
        _cut: asyncio.TimerHandle | None = None
        _look: asyncio.TimerHandle | None = None
        _unread = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()
            self._look = self.loop.call_later(seconds, self._see)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            if self._look is not None:
                self._look.cancel()
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

        def _see(self) -> None:
            """Cut a client that has read next to nothing since the last look, though there was something to read."""
            unread = self.transport.get_write_buffer_size()
            if unread and self._unread and unread > self._unread - _LEAST:
                self.transport.abort()
                return
            self._unread = unread
            self._look = self.loop.call_later(seconds, self._see)

    return Patient

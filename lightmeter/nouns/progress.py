"""How a long verb shows that it is alive: the verb says what it counts, the caller decides what that looks like."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Advance(Protocol):
    """Adds to a counter; `total` replaces what it was to reach, where that has turned out to be another number."""

    def __call__(self, count: int, total: int | None = None) -> None:
        """Count `count` more."""
        ...


class Progress(Protocol):
    """What a verb may tell its caller while it works. The command line draws bars; a library call is silent."""

    def track(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """Open a counter of `total` units ("images", "batches"); the value is what adds to it."""
        ...

    def say(self, text: str) -> None:
        """Show one line that the user should read, such as a plan or a warning."""
        ...


class Silent:
    """A Progress that shows nothing."""

    @contextlib.contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Count nothing."""
        yield lambda count, total=None: None

    def say(self, text: str) -> None:
        """Say nothing."""


SILENT: Progress = Silent()

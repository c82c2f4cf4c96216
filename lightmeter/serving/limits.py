"""What the server takes at most, so that no client can exhaust memory, cores or patience."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lightmeter.runners import cores
from lightmeter.serving.problems import Problem


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server; each that is met has its own answer.

    At worst `(workers + waiting) * body` bytes of pictures are held at once.

    Attributes:
        body: bytes of one request; beyond it 413.
        images: files in one request; beyond it 413.
        explained: pictures of one request that can be explained at once; beyond it 422.
        workers: requests that are decoded and run at once.
        waiting: requests that may wait or still arrive besides those; beyond it 429.
        read_seconds: until a request's head must have arrived, or the connection is cut, and from then on its body;
            beyond it 408.
        answer_seconds: from then on until it must have been answered; beyond it 504, and it leaves the queue.
        batch: canvases in one run of the graph.
        batch_seconds: that a batch waits to be filled; 0 takes what waited while the last one ran.
        reload_seconds: between looks for a changed bundle; 0 never looks.
        retry_seconds: what `Retry-After` says with a 429.
    """

    body: int = 20 * 1024 * 1024
    images: int = 32
    explained: int = 4
    workers: int = field(default_factory=cores)
    waiting: int = 16
    read_seconds: float = 30.0
    answer_seconds: float = 10.0
    batch: int = 32
    batch_seconds: float = 0.0
    reload_seconds: float = 2.0
    retry_seconds: int = 1

    def __post_init__(self) -> None:
        assert min(self.body, self.images, self.workers, self.read_seconds, self.answer_seconds, self.batch) > 0, self
        assert min(self.waiting, self.batch_seconds, self.reload_seconds) >= 0, self


class Gate:
    """Counts the requests inside and turns away those for which there is no room.

    It is used from the event loop's thread alone, so that a plain counter is enough.
    """

    def __init__(self, limits: Limits) -> None:
        self._room = limits.workers + limits.waiting
        self._retry = limits.retry_seconds
        self.inside = 0

    @property
    def busy(self) -> bool:
        """Whether more than half of the room is taken, so that nothing should be done that nobody waits for."""
        return 2 * self.inside > self._room

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold one place for the block. Raises Problem (429) where there is none."""
        if self.inside >= self._room:
            raise Problem(
                429, "overloaded", f"{self.inside} requests are inside already.", {"Retry-After": str(self._retry)}
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

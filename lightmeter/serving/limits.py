"""What the server takes at most, so that no client can exhaust memory, cores or patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lightmeter.runners import cores
from lightmeter.serving.problems import Problem

_STANDING = 0.75  # of the room: a full queue must be below that by the time that one queue was answered
_ENOUGH = 20  # requests by which it is judged whether an overload is over, or else:
_LONG = 10  # so many times `calm_seconds`


def turned_away(workers: int, places: int) -> float:
    """The share of requests for which there is none of so many places, when as many come as the workers can answer.

    For requests at random times that take a random time each, a queue M/M/c/K; it is less where all take equally long.
    Source: A. K. Erlang, 1917, in any book on queues.
    """
    weights = [1.0]  # of so many inside, up to a common factor
    for inside in range(1, places + 1):
        weights.append(weights[-1] * workers / min(inside, workers))
    return weights[-1] / sum(weights)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server; each that is met has its own answer.

    At worst `held` bytes of requests lie in memory at once (twice that where pictures are copied out of requests of /v2
    at the same moment), and besides them what `workers` pictures of `pixels` pixels
    take while they are decoded: up to 16 bytes a pixel, where there is transparency.

    Attributes:
        body: bytes of one request; beyond it 413.
        json: bytes of the JSON of one request, which only one thread can read at a time; beyond it 413.
        images: files in one request; beyond it 413.
        pixels: of one picture, as many as are decoded of it: of a large JPEG a quarter or less; beyond it 422.
        explained: pictures of one request that can be explained at once; beyond it 422.
        workers: requests that are decoded at once.
        waiting: requests that may wait for their answer besides those; beyond it 429. So many absorb a burst. Where
            they do not suffice, half as many as are worked on may wait, until few are turned away: see `Gate`.
        calm_seconds: after which that is looked at, again and again.
        arriving: requests that may be under way in all, those that still arrive too; beyond it 429.
        held: bytes of them all; beyond it 429.
        explaining: requests that may be explained or wait for that; beyond it 429.
        read_seconds: until a request's head must have arrived, or the connection is cut; from then on until its body
            must have, beyond it 408; and for which a client may read nothing of an answer, or the connection is cut.
        answer_seconds: from then on until it must have been answered; beyond it 504, and it is worked on no more.
        batch: canvases in one run of the graph. More answer no more a second on one core, and all wait for the last.
        batch_seconds: that a batch waits to be filled; 0 takes what waited while the last ones ran.
        reload_seconds: between looks for a changed bundle; 0 never looks.
        retry_seconds: what `Retry-After` says with a 429.
        drain_seconds: for which it goes on after SIGTERM, already saying that it is not ready, so that whoever sends
            requests its way can learn that.
    """

    body: int = 20 * 1024 * 1024
    json: int = 4 * 1024 * 1024
    images: int = 32
    pixels: int = 24_000_000
    explained: int = 4
    workers: int = field(default_factory=cores)
    waiting: int = 16
    calm_seconds: float = 1.0
    arriving: int = 192
    held: int = 256 * 1024 * 1024
    explaining: int = 4
    read_seconds: float = 30.0
    answer_seconds: float = 10.0
    batch: int = 4
    batch_seconds: float = 0.0
    reload_seconds: float = 2.0
    retry_seconds: int = 1
    drain_seconds: float = 3.0

    def __post_init__(self) -> None:
        assert min(self.body, self.json, self.images, self.pixels, self.workers, self.held, self.batch) > 0, self
        assert min(self.arriving, self.explaining, self.read_seconds, self.answer_seconds, self.calm_seconds) > 0, self
        assert min(self.waiting, self.batch_seconds, self.reload_seconds, self.drain_seconds) >= 0, self


class Gate:
    """Counts requests and their bytes, and turns away those for which there is no room.

    It is used from the event loop's thread alone, so that plain counters are enough.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._left: int | None = None  # requests that went since the queue was full, while it stands; else None
        self._since: float | None = None  # since when an overload is looked at; None without one
        self._asked = self._refused = 0  # since then
        self._few = limits.workers + min(limits.waiting, (limits.workers + 1) // 2)
        self._share = turned_away(limits.workers, self._few)
        self.inside = self.arriving = self.held = self.explaining = 0
        self.let_in = 0  # so far

    @property
    def room(self) -> int:
        """Requests that may be inside now.

        A queue that empties again absorbs a burst and costs little; one that stands makes everybody wait and helps
        nobody. So where it was full and is not a quarter empty by the time that as many as it holds were
        answered, there may wait no more than keep the workers busy, and who is let in does not wait behind a
        queue. So few places turn some away at any load; once they turn away fewer than they would if as many
        were asked as can be answered, the whole queue is open again.

        Source: the distinction is that of K. Nichols and V. Jacobson, "Controlling queue delay", 2012.
        """
        return self._limits.workers + self._limits.waiting if self._since is None else self._few

    @property
    def busy(self) -> bool:
        """Whether more than half of the room is taken, so that nothing should be done that nobody waits for."""
        return 2 * self.inside > self.room

    @contextmanager
    def arrive(self) -> Iterator[Callable[[int], None]]:
        """Count a request while the block lasts; the value is told how many bytes of it have come.

        It takes no room to be answered until it has come whole, so that one that sends slowly takes none from others.

        Raises:
            Problem: 429.
        """
        if self.arriving >= self._limits.arriving:
            raise self._full(f"{self.arriving} requests are arriving already.", close=True)
        own = 0

        def took(count: int) -> None:
            nonlocal own
            if self.held + count > self._limits.held:
                raise self._full("Too many bytes of other requests are held already.", close=True)
            own += count
            self.held += count

        self.arriving += 1
        try:
            yield took
        finally:
            self.arriving -= 1
            self.held -= own

    def meet(self) -> None:
        """Turn a request away before anything of it was read, where an overload stands and there is no place.

        Most requests are turned away then, and should cost those who are answered as little as possible. Without an
        overload there may be a place by the time that a request has come whole.

        Raises:
            Problem: 429.
        """
        if self._since is None or self.inside < self.room:
            return
        self._look()
        if self.inside >= self.room:
            self._asked += 1
            self._refused += 1
            raise self._full(f"{self.inside} requests are inside already.")

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold one place for the block. Raises Problem (429) where there is none."""
        self._look()
        full = self.inside >= self.room
        self._asked += 1
        self._refused += full
        if full:
            if self._since is None and self._left is None:
                self._left = 0
            raise self._full(f"{self.inside} requests are inside already.")
        self.inside += 1
        self.let_in += 1
        try:
            yield
        finally:
            self.inside -= 1
            if self._left is not None:
                self._left = self._left + 1 if self.inside > _STANDING * self.room else None

    def _look(self) -> None:
        """Begin an overload where the queue stands, and end one that is over."""
        if self._since is None:
            if self._left is not None and self._left >= self.room:
                self._since, self._left, self._asked, self._refused = self._clock(), None, 0, 0
            return
        passed = self._clock() - self._since
        if passed < self._limits.calm_seconds or (self._asked < _ENOUGH and passed < _LONG * self._limits.calm_seconds):
            return
        self._since = self._clock() if self._refused > self._share * self._asked else None
        self._asked = self._refused = 0

    @contextmanager
    def explain(self) -> Iterator[None]:
        """Hold one of the few places for explanations, which take many times what an answer takes. Raises Problem."""
        if self.explaining >= self._limits.explaining:
            raise self._full(f"{self.explaining} requests wait to be explained already.")
        self.explaining += 1
        try:
            yield
        finally:
            self.explaining -= 1

    def _full(self, detail: str, *, close: bool = False) -> Problem:
        """What is answered then; with `close` where the rest of the body is not read."""
        headers = {"Retry-After": str(self._limits.retry_seconds), **({"Connection": "close"} if close else {})}
        return Problem(429, "overloaded", detail, headers)


class Deadline:
    """Until when a request must be answered. Threads ask it between two parts of their work, which nothing can stop."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, time.monotonic() + seconds

    def check(self) -> None:
        """Raise Problem (504) once the time is over."""
        if time.monotonic() > self._until:
            raise self.late()

    def late(self) -> Problem:
        """What is answered then."""
        return Problem(504, "deadline", f"No answer within {self._seconds:g} s.")

"""What answers: pictures through decoding, the batcher and explanations, all within the limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lightmeter import __version__
from lightmeter.errors import BadImageError, ForeignImageError
from lightmeter.nouns.glibc import give_back
from lightmeter.serving.batcher import Answer
from lightmeter.serving.extras import alike, heat
from lightmeter.serving.limits import Deadline, Gate, Limits
from lightmeter.serving.memory import Rest, settle
from lightmeter.serving.metrics import Metrics
from lightmeter.serving.problems import Problem
from lightmeter.serving.shelf import Served, Shelf

Result = TypeVar("Result")
Some = TypeVar("Some", Sequence[tuple[str, bytes]], NDArray[np.uint8])

_TIDY_SECONDS = 5.0
Images = Sequence[tuple[str, bytes]]
"""(name, encoded bytes) of each picture."""
Part = tuple[Callable[[], NDArray[np.uint8]], int]
"""What makes some canvases of a request, and how many."""


@dataclass(frozen=True, eq=False, slots=True)
class Answered:
    """Canvases uint8[N, S, S, C], their logits float32[N, K], and the seconds of decoding, waiting and the graph.

    A request of more pictures than a batch is run in parts: then each is that of the slowest part.
    """

    canvases: NDArray[np.uint8]
    logits: NDArray[np.float32]
    decode: float
    queue: float
    inference: float


class Engine:
    """Everything behind the routes of one application.

    Pictures are decoded where the graph runs, see `Batcher`. Explanations have one thread of their own: they take many
    times as long, and nobody else should wait for them.
    """

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        self.shelf, self.limits = shelf, limits
        self.gate, self.metrics = Gate(limits), Metrics(shelf.names, __version__)
        self.metrics.inside.set_function(lambda: self.gate.inside)
        for name in shelf.names:
            self.metrics.bundle(name, shelf.get(name).bundle.seal)
        self.ready = True  # what probes are told; requests are answered until it is closed
        self._open = True
        self._decoding = threading.Semaphore(limits.workers)  # of all bundles together
        self._apart = ThreadPoolExecutor(1, thread_name_prefix="lightmeter-explain")
        self._shadows: set[asyncio.Task[None]] = set()  # so that none is collected while it runs

    def close(self) -> None:
        """Take nothing more, and answer what waits."""
        self.ready = self._open = False
        self._apart.shutdown(cancel_futures=True)
        self.shelf.close()

    @contextmanager
    def arrive(self, model: str | None) -> Iterator[Callable[[int], None]]:
        """Let a request in whose body is still to come; see `Gate.arrive`.

        Raises:
            Problem: 503 while it stops, 429 where there is no room, 404 for an unknown model.
        """
        if not self._open:
            raise Problem(503, "not_ready", "The server is stopping.")
        if model is not None:
            self.shelf.get(model)
        with self.gate.arrive() as took:
            yield took

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[Deadline]:
        """Give the block the seconds that an answer may take, all its parts together. Raises Problem (504)."""
        deadline = Deadline(self.limits.answer_seconds)
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                yield deadline
        except TimeoutError as error:  # which has cancelled whatever part was waiting
            raise deadline.late() from error

    async def answer(self, served: Served, images: Images, deadline: Deadline) -> Answered:
        """Decode pictures and run the graph on them, where there is room for that.

        What else was asked for, explanations above all, comes after the place was given back: others may be answered
        meanwhile.

        Raises:
            Problem: 429 where there is no room, 415 or 422 for pictures that cannot be read.
        """
        with self.gate.enter():
            try:
                found = await self._run(served, self._decoders(served, images, deadline))
            except Problem as problem:
                self.metrics.images(refused=len(problem.errors))
                raise
        self.metrics.parts(found.decode, found.queue, found.inference)
        return found

    async def run(self, served: Served, canvases: NDArray[np.uint8]) -> Answered:
        """Run the graph on canvases, where there is room for that. Raises Problem (429)."""
        with self.gate.enter():
            found = await self._run(served, [(partial(_same, part), len(part)) for part in self._parts(canvases)])
        self.metrics.parts(found.decode, found.queue, found.inference)
        return found

    def _parts(self, given: Some) -> list[Some]:
        """At most a batch in each, so that the pictures of one request, too, are shared out among the threads."""
        most = self.limits.batch
        return [given[place : place + most] for place in range(0, len(given), most)]

    def _decoders(self, served: Served, images: Images, deadline: Deadline) -> list[Part]:
        return [(partial(self._decoded, served, part, deadline), len(part)) for part in self._parts(images)]

    def _decoded(self, served: Served, images: Images, deadline: Deadline) -> NDArray[np.uint8]:
        with self._decoding:
            return decode(served, images, self.limits.pixels, deadline)

    async def _run(self, served: Served, parts: Sequence[Part]) -> Answered:
        """Make the canvases of every part and run the graph on them."""
        jobs = [asyncio.wrap_future(served.batcher.submit_later(make, count)) for make, count in parts]
        ends = await asyncio.gather(*jobs, return_exceptions=True)
        found = [end for end in ends if isinstance(end, Answer)]
        if len(found) < len(ends):
            failure = _failure(
                [end for end in ends if isinstance(end, BaseException)], sum(count for _, count in parts)
            )
            try:
                raise failure
            finally:
                del failure, ends, jobs  # else it holds this frame, which holds it, and what was sent stays, too
        made, queued, inference = (
            max(seconds) for seconds in zip(*((one.made, one.queued, one.inference) for one in found), strict=True)
        )
        canvases, logits = found[0].canvases, found[0].logits
        if len(found) > 1:
            canvases = np.concatenate([one.canvases for one in found])
            logits = np.concatenate([one.logits for one in found])
        return Answered(canvases, logits, made, queued, inference)

    async def explain(
        self, served: Served, canvases: NDArray[np.uint8], documents: list[dict[str, Any]], deadline: Deadline
    ) -> None:
        """Put an explanation into each answer that has a label. To be called inside of `gate.explain`."""
        for canvas, document in zip(canvases, documents, strict=True):
            if document["label"]:
                document["explanation"] = await self._slowly(heat, served, canvas, document["label"], deadline)

    async def neighbours(
        self, served: Served, canvases: NDArray[np.uint8], documents: list[dict[str, Any]], count: int
    ) -> None:
        """Put the nearest training pictures into each answer. To be called inside of `gate.explain`."""
        found = await self._slowly(alike, served, canvases, count)
        for document, some in zip(documents, found, strict=True):
            document["neighbours"] = some

    def shadow(self, served: Served, images: Images, canvases: NDArray[np.uint8], labels: Sequence[str | None]) -> None:
        """Let the shadows answer a request as well, later and unseen, unless the server or they are busy."""
        for other in self.shelf.shadows_of(served.name):
            if self.gate.busy or len(self._shadows) >= self.limits.workers:
                return
            same = other.bundle.preprocess == served.bundle.preprocess
            held = ExitStack()
            held.enter_context(other.use())  # at once: before the task starts it could be exchanged
            task = asyncio.create_task(self._shadow(other, held, canvases if same else images, labels))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _shadow(
        self, served: Served, held: ExitStack, given: Images | NDArray[np.uint8], labels: Sequence[str | None]
    ) -> None:
        with held:
            try:
                async with self.in_time() as deadline:
                    if isinstance(given, np.ndarray):
                        parts: list[Part] = [(partial(_same, part), len(part)) for part in self._parts(given)]
                    else:
                        parts = self._decoders(served, given, deadline)
                    found = await self._run(served, parts)
            except Exception:  # noqa: BLE001 - nobody waits for it; a shadow that fails is counted, whatever the cause
                self.metrics.shadow_failed(served.name)
                return
            others = served.predictor.read([""] * len(labels), found.logits, topk=1)
            agree = sum(other.label == label for other, label in zip(others, labels, strict=True))
            self.metrics.shadowed(served.name, agree, len(others) - agree)

    async def watch(self) -> None:
        """Exchange bundles whose folders change, for ever."""
        while True:
            await asyncio.sleep(self.limits.reload_seconds)
            for name in self.shelf.names:
                known = self.shelf.failures.get(name)
                new = await asyncio.to_thread(self.shelf.renewed, name, self.limits)
                if new is not None:
                    self.shelf.exchange(new)
                    self.metrics.bundle(name, new.bundle.seal)
                    self.metrics.reloads(name, "done")
                    settle()
                elif self.shelf.failures.get(name) not in (None, known):
                    self.metrics.reloads(name, "refused")

    async def tidy(self) -> None:
        """Give memory back when it is time, see `memory.Rest`, for ever."""
        rest = Rest()
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            busy = bool(self.gate.inside or self.gate.explaining or self._shadows)
            if rest.due(self.gate.let_in, busy=busy):
                await asyncio.to_thread(give_back)

    async def _slowly(self, job: Callable[..., Result], *given: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._apart, job, *given)


def decode(served: Served, images: Images, most: int, deadline: Deadline) -> NDArray[np.uint8]:
    """Every picture's canvas, uint8[N, S, S, C].

    Args:
        most: pixels that may be decoded of each.

    Raises:
        Problem: 415 where one is not a picture, else 422, naming each that is bad; 504 once nobody waits any more.
    """
    canvases, errors = [], []
    for name, data in images:
        deadline.check()
        try:
            canvases.append(served.canvas(data, most=most))
        except BadImageError as error:
            code = "unsupported_type" if isinstance(error, ForeignImageError) else "undecodable"
            errors.append({"file": name, "code": code, "detail": error.received})
    if errors:
        raise _unreadable(errors, len(images))
    return np.stack(canvases)


def _unreadable(errors: Sequence[Mapping[str, Any]], count: int) -> Problem:
    code = "unsupported_type" if any(error["code"] == "unsupported_type" for error in errors) else "undecodable"
    detail = f"{len(errors)} of {count} pictures could not be read; first: {errors[0]['detail']}."
    return Problem(415 if code == "unsupported_type" else 422, code, detail, errors=errors)


def _failure(raised: Sequence[BaseException], count: int) -> BaseException:
    """What is said of a request of so many pictures, some parts of which failed: all that could not be read, or else
    the first thing that went wrong.
    """
    errors: list[Mapping[str, Any]] = []
    for error in raised:
        if not isinstance(error, Problem) or not error.errors:
            return error
        errors += error.errors
    return _unreadable(errors, count)


def _same(canvases: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return canvases

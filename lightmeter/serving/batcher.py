"""Pictures of several requests -> decoded, one run of the graph, and each request its own answers back."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmeter.runners import Runner


@dataclass(frozen=True, slots=True)
class Answer:
    """Canvases uint8[N, S, S, C] of one job, their logits float32[N, K], and the seconds that it took to make the one,
    to wait, and to run the graph.
    """

    canvases: NDArray[np.uint8]
    logits: NDArray[np.float32]
    made: float
    queued: float
    inference: float


@dataclass(slots=True)
class _Job:
    make: Callable[[], NDArray[np.uint8]]
    count: int
    future: Future[Answer] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Runs a graph in a few threads, each on its share of what waits, as many at once as fit.

    The thread that runs the graph on a job has made its canvases, too: a picture that were decoded in one thread and
    answered in another would wait for its turn twice, and wake the event loop between.

    Without `longest_wait` it never waits for company: what came in while the last runs were under way is shared out
    among the threads that are free, so that batches grow with the load and a lone request is answered at once. With it,
    a batch that is not full waits until its oldest job has waited so long.

    Args:
        runner: what runs; its answers to a picture may not depend on the others, as those of a graph do not.
        largest: canvases in one run; a larger job is run in several.
        longest_wait: seconds.
        lanes: runs side by side.
        workers: threads, where more are to make canvases than run the graph at once; never fewer than lanes.
        warm: canvases that every thread runs twice before it begins: what the library that runs the graph needs for
            that it keeps, so that memory does not grow later. (ONNX Runtime learns in the first run what it allocates
            as one block from the second on.)

    Raises:
        whatever the runner raises on `warm`.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        largest: int = 32,
        longest_wait: float = 0.0,
        lanes: int = 1,
        workers: int = 1,
        warm: NDArray[np.uint8] | None = None,
    ) -> None:
        assert largest > 0 and longest_wait >= 0 and lanes > 0, (largest, longest_wait, lanes)
        self._runner, self._largest, self._longest_wait = runner, largest, longest_wait
        self._free = max(lanes, workers)
        self._lanes = threading.Semaphore(lanes)
        self._jobs: deque[_Job] = deque()
        self._some = threading.Condition()
        self._open = True
        warmed: list[Future[None]] = [Future() for _ in range(self._free)]
        self._threads = [
            threading.Thread(target=self._work, args=(warm, done), name=f"lightmeter-batcher-{place}", daemon=True)
            for place, done in enumerate(warmed)
        ]
        for thread in self._threads:
            thread.start()
        try:
            for done in warmed:
                done.result()
        except BaseException:
            self.retire()
            raise

    def submit(self, canvases: NDArray[np.uint8]) -> Future[Answer]:
        """uint8[N, S, S, C] -> its Answer, some time. Cancelling takes a job that waits out of the queue."""
        return self.submit_later(lambda: canvases, len(canvases))

    def submit_later(self, make: Callable[[], NDArray[np.uint8]], count: int) -> Future[Answer]:
        """The same for as many canvases that are still to be made; what that raises, the answer raises."""
        job = _Job(make, count)
        with self._some:
            if not self._open:
                raise RuntimeError("the batcher is closed")
            self._jobs.append(job)
            self._some.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._jobs)

    def retire(self) -> None:
        """Take nothing more; its threads answer what is in the queue, then end."""
        with self._some:
            self._open = False
            self._some.notify_all()

    def close(self) -> None:
        """Take nothing more, and wait until what is in the queue was answered."""
        self.retire()
        for thread in self._threads:
            thread.join()

    def _work(self, warm: NDArray[np.uint8] | None, warmed: Future[None]) -> None:
        try:
            with self._lanes:
                for canvases in () if warm is None else (warm, warm):
                    self._runner(canvases)
            warmed.set_result(None)
        except BaseException as error:  # noqa: BLE001 - whoever makes a Batcher is to see it
            warmed.set_exception(error)
        while batch := self._next():
            jobs = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if jobs:
                self._run(jobs)
            with self._some:
                self._free += 1

    def _next(self) -> list[_Job]:
        """The jobs of the next run; none once it is closed and the queue is empty."""
        with self._some:
            while self._open and (not self._jobs or self._too_few()):
                self._some.wait(self._jobs[0].since + self._longest_wait - time.perf_counter() if self._jobs else None)
            # Where batches wait to be filled, sharing would leave every lane with a part that is too small again.
            share = self._largest if self._longest_wait else min(self._largest, -(-self._count() // self._free))
            batch: list[_Job] = []
            count = 0
            while self._jobs and (not batch or count + self._jobs[0].count <= share):
                batch.append(self._jobs.popleft())
                count += batch[-1].count
            if batch:
                self._free -= 1
            return batch

    def _too_few(self) -> bool:
        """Whether a batch may still be waited for."""
        return self._count() < self._largest and time.perf_counter() < self._jobs[0].since + self._longest_wait

    def _count(self) -> int:
        return sum(job.count for job in self._jobs)

    def _run(self, jobs: list[_Job]) -> None:
        ready: list[tuple[_Job, NDArray[np.uint8], float]] = []  # with its canvases, and the seconds they took
        for job in jobs:
            began = time.perf_counter()
            try:
                ready.append((job, job.make(), time.perf_counter() - began))
            except BaseException as error:  # noqa: BLE001 - it is that job's alone
                job.future.set_exception(error)
        if ready:
            with self._lanes:
                self._answer(ready)

    def _answer(self, ready: list[tuple[_Job, NDArray[np.uint8], float]]) -> None:
        began = time.perf_counter()
        try:
            pixels = ready[0][1] if len(ready) == 1 else np.concatenate([canvases for _, canvases, _ in ready])
            parts = [
                self._runner(pixels[place : place + self._largest]) for place in range(0, len(pixels), self._largest)
            ]
            logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer is to see it
            for job, _, _ in ready:
                job.future.set_exception(error)
            return
        took = time.perf_counter() - began
        place = 0
        for job, canvases, made in ready:
            own = logits[place : place + len(canvases)]
            job.future.set_result(Answer(canvases, own, made, began - job.since - made, took))
            place += len(canvases)

"""Canvases of several requests -> one run of the graph, and each request its own answers back."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lightmeter.runners import Runner


@dataclass(frozen=True, slots=True)
class Answer:
    """Logits float32[N, K] of one job, the seconds it waited, and those that its run of the graph took."""

    logits: NDArray[np.float32]
    queued: float
    inference: float


@dataclass(slots=True)
class _Job:
    canvases: NDArray[np.uint8]
    future: Future[Answer] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Runs a graph in a few threads, each on its share of the waiting canvases, as many at once as fit.

    Without `longest_wait` it never waits for company: what came in while the last runs were under way is shared out
    among the threads that are free, so that batches grow with the load and a lone request is answered at once. With it,
    a batch that is not full waits until its oldest job has waited so long.

    Args:
        runner: what runs; its answers to a picture may not depend on the others, as those of a graph do not.
        largest: canvases in one run; a larger job is run in several.
        longest_wait: seconds.
        lanes: threads that run it side by side.
        warm: canvases that every lane runs twice before it begins: what the library that runs the graph needs for that
            it keeps, so that memory does not grow later. (ONNX Runtime learns in the first run what it allocates as one
            block from the second on.)

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
        warm: NDArray[np.uint8] | None = None,
    ) -> None:
        assert largest > 0 and longest_wait >= 0 and lanes > 0, (largest, longest_wait, lanes)
        self._runner, self._largest, self._longest_wait = runner, largest, longest_wait
        self._free = lanes
        self._jobs: deque[_Job] = deque()
        self._some = threading.Condition()
        self._open = True
        warmed: list[Future[None]] = [Future() for _ in range(lanes)]
        self._threads = [
            threading.Thread(target=self._work, args=(warm, done), name=f"lightmeter-batcher-{lane}", daemon=True)
            for lane, done in enumerate(warmed)
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
        job = _Job(canvases)
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
            while self._jobs and (not batch or count + len(self._jobs[0].canvases) <= share):
                batch.append(self._jobs.popleft())
                count += len(batch[-1].canvases)
            if batch:
                self._free -= 1
            return batch

    def _too_few(self) -> bool:
        """Whether a batch may still be waited for."""
        return self._count() < self._largest and time.perf_counter() < self._jobs[0].since + self._longest_wait

    def _count(self) -> int:
        return sum(len(job.canvases) for job in self._jobs)

    def _run(self, jobs: list[_Job]) -> None:
        began = time.perf_counter()
        try:
            pixels = jobs[0].canvases if len(jobs) == 1 else np.concatenate([job.canvases for job in jobs])
            parts = [
                self._runner(pixels[place : place + self._largest]) for place in range(0, len(pixels), self._largest)
            ]
            logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer is to see it
            for job in jobs:
                job.future.set_exception(error)
            return
        took = time.perf_counter() - began
        place = 0
        for job in jobs:
            job.future.set_result(Answer(logits[place : place + len(job.canvases)], began - job.since, took))
            place += len(job.canvases)

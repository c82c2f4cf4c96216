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


@dataclass(slots=True, eq=False)
class _Job:
    make: Callable[[], NDArray[np.uint8]] | None  # None once it was called: it may hold what a client sent
    count: int
    future: Future[Answer] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)
    canvases: NDArray[np.uint8] | None = None
    made: float = 0.0


class Batcher:
    """Makes canvases and runs a graph on them, in a few threads, as many at once as fit.

    The thread that makes a job's canvases runs the graph on them, too, where nothing else does: a picture that was
    always decoded in one thread and answered in another would wait for its turn twice, and wake the event loop between.

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
        self._lanes = lanes  # that are free
        self._idle = max(lanes, workers)  # threads
        self._jobs: deque[_Job] = deque()  # whose canvases are to be made
        self._made: deque[_Job] = deque()  # whose canvases are to be run
        self._some = threading.Condition()
        self._open = True
        warmed: list[Future[None]] = [Future() for _ in range(self._idle)]
        self._threads = [
            threading.Thread(target=self._work, args=(warm, done), name=f"lightmeter-batcher-{place}", daemon=True)
            for place, done in enumerate(warmed)
        ]
        self._warming = threading.Semaphore(lanes)
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
        job.future.add_done_callback(self._forget)
        with self._some:
            if not self._open:
                raise RuntimeError("the batcher is closed")
            self._jobs.append(job)
            self._some.notify()
        return job.future

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        with self._some:
            return len(self._jobs) + len(self._made)

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

    def _forget(self, future: Future[Answer]) -> None:
        """Take a job out of the queue that nobody waits for any more."""
        if future.cancelled():
            with self._some:
                for queue in (self._jobs, self._made):
                    for job in [job for job in queue if job.future is future]:
                        queue.remove(job)

    def _work(self, warm: NDArray[np.uint8] | None, warmed: Future[None]) -> None:
        try:
            with self._warming:
                for canvases in () if warm is None else (warm, warm):
                    self._runner(canvases)
            warmed.set_result(None)
        except BaseException as error:  # noqa: BLE001 - whoever makes a Batcher is to see it
            warmed.set_exception(error)
        while self._turn():  # each in a frame of its own: an idle thread holds on to nothing that was sent
            pass

    def _turn(self) -> bool:
        """Run the graph once, or else make the canvases of some jobs; False once it is closed and all is answered."""
        with self._some:
            while not (running := self._runnable()) and not self._jobs:
                if not self._open and not self._made:
                    self._some.notify_all()
                    return False
                self._some.wait(self._patience())
            batch = self._taken(running)
            self._lanes -= running
            self._idle -= 1
            if self._jobs or self._made:
                self._some.notify()  # whoever is idle may take the rest
        try:
            if running:
                self._run(batch)
            else:
                self._make(batch)
        finally:
            with self._some:
                self._lanes += running
                self._idle += 1
        return True

    def _runnable(self) -> bool:
        """Whether there is a lane, and a batch that need not wait for company."""
        if not self._lanes or not self._made:
            return False
        full = sum(job.count for job in self._made) >= self._largest
        return full or not self._open or time.perf_counter() >= self._made[0].since + self._longest_wait

    def _patience(self) -> float | None:
        """Seconds until a batch has waited for company long enough; None where that is not what is waited for."""
        if not self._lanes or not self._made:
            return None
        return max(0.0, self._made[0].since + self._longest_wait - time.perf_counter())

    def _taken(self, running: bool) -> list[_Job]:
        """The next jobs, out of the queue: a fair share for those who could take some, and at most a batch."""
        queue, takers = (self._made, min(self._lanes, self._idle)) if running else (self._jobs, self._idle)
        # Where batches wait to be filled, sharing would leave every lane with a part that is too small again.
        whole = running and self._longest_wait
        share = self._largest if whole else min(self._largest, -(-sum(job.count for job in queue) // takers))
        batch: list[_Job] = []
        count = 0
        while queue and (not batch or count + queue[0].count <= share):
            batch.append(queue.popleft())
            count += batch[-1].count
        return batch

    def _make(self, batch: list[_Job]) -> None:
        """Make the canvases of each job, and put those that are still wanted among what is to be run."""
        for job in batch:
            made = not job.future.cancelled() and _make(job)
            job.make = None
            if made:
                with self._some:
                    self._made.append(job)
        # What a job raised holds this frame, and its future holds that: without the jobs it is no cycle.
        batch.clear()
        del job

    def _run(self, batch: list[_Job]) -> None:
        """Run the graph on the canvases of all, and give each its own answers."""
        jobs = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        began = time.perf_counter()
        try:
            every = [job.canvases for job in jobs if job.canvases is not None]
            pixels = every[0] if len(every) == 1 else np.concatenate(every)
            parts = [
                self._runner(pixels[place : place + self._largest]) for place in range(0, len(pixels), self._largest)
            ]
            logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the answer is to see it
            for job in jobs:
                job.future.set_exception(error)
            for some in (batch, jobs):
                some.clear()  # see `_make`
            del job
            return
        took = time.perf_counter() - began
        place = 0
        for job, canvases in zip(jobs, every, strict=True):
            own = logits[place : place + len(canvases)]
            job.future.set_result(Answer(canvases, own, job.made, began - job.since - job.made, took))
            place += len(canvases)


def _make(job: _Job) -> bool:
    """Make a job's canvases; whether that went well."""
    assert job.make is not None
    began = time.perf_counter()
    try:
        job.canvases = job.make()
        job.made = time.perf_counter() - began
    except BaseException as error:  # noqa: BLE001 - it is that job's alone
        if job.future.set_running_or_notify_cancel():
            job.future.set_exception(error)
        return False
    else:
        return True
    finally:
        del job  # see `Batcher._make`

"""Batches are made of what waits, answers go back to who asked, and nobody is waited for in vain."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmeter.runners import RUNNERS, open_runner
from lightmeter.serving.batcher import Batcher
from lightmeter.verbs.verify import probabilities
from tests.bundles import with_network


class Held:
    """A runner that waits to be let go, and remembers how many canvases came at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered, self.go = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append(len(pixels))
        self.entered.release()
        assert self.go.acquire(timeout=10)
        return pixels[:, 0, 0, :].astype(np.float32)


def canvases(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8)[:, None, None, None].repeat(2, axis=3)


def test_what_comes_while_one_runs_is_the_next_batch_and_each_gets_its_own_answers() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=4)
    first = batcher.submit(canvases(1))
    assert runner.entered.acquire(timeout=10)
    later = [batcher.submit(canvases(2, 3)), batcher.submit(canvases(4)), batcher.submit(canvases(5, 6))]
    assert batcher.waiting == 3
    for _ in range(3):
        runner.go.release()
    assert first.result(10).logits.tolist() == [[1, 1]]
    assert [job.result(10).logits[:, 0].tolist() for job in later] == [[2, 3], [4], [5, 6]]
    assert runner.sizes == [1, 3, 2]
    assert later[0].result().queued >= 0
    batcher.close()


def test_lanes_that_are_free_share_what_waits_and_run_side_by_side() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=8, lanes=2)
    busy = [batcher.submit(canvases(1)), batcher.submit(canvases(2))]
    for _ in busy:
        assert runner.entered.acquire(timeout=10)  # both, before either is let go
    later = [batcher.submit(canvases(value)) for value in (3, 4, 5, 6)]
    for _ in range(5):
        runner.go.release()
    assert [job.result(10).logits[0, 0] for job in busy + later] == [1, 2, 3, 4, 5, 6]
    assert sum(runner.sizes) == 6 and max(runner.sizes[2:]) in (2, 4)  # all to the one that is free, or half to each
    runner.go.release()
    batcher.close()


def test_a_job_larger_than_a_batch_is_run_in_parts() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=2)
    job = batcher.submit(canvases(1, 2, 3, 4, 5))
    for _ in range(3):
        runner.go.release()
    assert job.result(10).logits[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert runner.sizes == [2, 2, 1]
    batcher.close()


def test_a_cancelled_job_leaves_the_queue_and_the_others_are_answered() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=8)
    first = batcher.submit(canvases(1))
    assert runner.entered.acquire(timeout=10)
    gone, kept = batcher.submit(canvases(2)), batcher.submit(canvases(3))
    assert batcher.waiting == 2
    assert gone.cancel()
    assert batcher.waiting == 1
    runner.go.release()
    runner.go.release()
    assert first.result(10).logits[0, 0] == 1
    assert kept.result(10).logits[0, 0] == 3
    with pytest.raises(CancelledError):
        gone.result(10)
    assert runner.sizes == [1, 1]
    batcher.close()


def test_a_full_batch_does_not_wait_and_a_lone_job_waits_only_so_long() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=2, longest_wait=60.0)
    pair = [batcher.submit(canvases(1)), batcher.submit(canvases(2))]
    runner.go.release()
    assert [job.result(10).logits[0, 0] for job in pair] == [1, 2]
    assert runner.sizes == [2]
    lone = batcher.submit(canvases(3))
    runner.go.release()
    batcher.close()  # which does not wait for company either
    assert lone.result(0).logits[0, 0] == 3
    patient = Batcher(runner, largest=2, longest_wait=0.01)
    runner.go.release()
    assert patient.submit(canvases(4)).result(10).queued >= 0.01
    patient.close()


def test_lanes_that_wait_for_company_take_whole_batches() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=4, longest_wait=60.0, lanes=2)
    jobs = [batcher.submit(canvases(value)) for value in range(8)]
    for _ in range(2):
        runner.go.release()
    assert [job.result(10).logits[0, 0] for job in jobs] == list(range(8))
    assert runner.sizes == [4, 4]
    batcher.close()


def test_every_lane_is_warm_before_it_begins_and_says_what_fails_there() -> None:
    seen: list[tuple[str, int]] = []

    def runner(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append((threading.current_thread().name, len(pixels)))
        return np.zeros((len(pixels), 2), np.float32)

    Batcher(runner, lanes=2, warm=canvases(1, 2, 3)).close()
    assert sorted(seen) == [(f"lightmeter-batcher-{lane}", 3) for lane in (0, 0, 1, 1)]

    def broken(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise RuntimeError("the graph failed")

    with pytest.raises(RuntimeError, match="the graph failed"):
        Batcher(broken, lanes=2, warm=canvases(1))


def test_canvases_are_made_where_they_are_run_and_one_that_fails_fails_alone() -> None:
    runner = Held()
    made_by: list[str] = []
    batcher = Batcher(runner, largest=8)
    first = batcher.submit(canvases(1))
    assert runner.entered.acquire(timeout=10)

    def make() -> NDArray[np.uint8]:
        made_by.append(threading.current_thread().name)
        return canvases(2, 3)

    def fail() -> NDArray[np.uint8]:
        raise ValueError("no picture")

    right, wrong, other = batcher.submit_later(make, 2), batcher.submit_later(fail, 1), batcher.submit(canvases(4))
    for _ in range(2):
        runner.go.release()
    found = right.result(10)
    assert found.logits[:, 0].tolist() == [2, 3] and found.canvases[:, 0, 0, 0].tolist() == [2, 3]
    assert other.result(10).logits[0, 0] == 4 and first.result(10).logits[0, 0] == 1
    with pytest.raises(ValueError, match="no picture"):
        wrong.result(10)
    assert runner.sizes == [1, 3] and made_by == ["lightmeter-batcher-0"]
    batcher.close()


def test_what_one_thread_made_while_the_graph_ran_is_one_batch_with_what_others_made() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=8, lanes=1, workers=4)
    first = batcher.submit(canvases(1))
    assert runner.entered.acquire(timeout=10)
    later = [batcher.submit(canvases(value)) for value in (2, 3, 4, 5)]
    while len(batcher._made) < 4:
        time.sleep(0.001)
    for _ in range(2):
        runner.go.release()
    assert [job.result(10).logits[0, 0] for job in [first, *later]] == [1, 2, 3, 4, 5]
    assert runner.sizes == [1, 4]
    batcher.close()


def test_what_is_cancelled_after_it_was_made_is_not_run() -> None:
    runner = Held()
    batcher = Batcher(runner, lanes=1, workers=2)
    first = batcher.submit(canvases(1))
    assert runner.entered.acquire(timeout=10)
    second = batcher.submit(canvases(2))
    while not batcher._made:
        time.sleep(0.001)
    assert second.cancel() and not batcher.waiting
    runner.go.release()
    assert first.result(10).logits[0, 0] == 1
    batcher.close()
    assert runner.sizes == [1]


def test_a_closed_batcher_answers_what_is_still_to_be_made() -> None:
    runner = Held()
    batcher = Batcher(runner, largest=1, lanes=1, workers=2)
    jobs = [batcher.submit_later(partial(canvases, value), 1) for value in range(5)]
    batcher.retire()
    for _ in jobs:
        runner.go.release()
    batcher.close()
    assert [job.result(0).logits[0, 0] for job in jobs] == list(range(5))


def test_nothing_that_was_sent_stays_behind() -> None:
    class Sent:
        """What a client sent."""

        def __call__(self) -> NDArray[np.uint8]:
            return canvases(1)

    class Bad(Sent):
        def __call__(self) -> NDArray[np.uint8]:
            raise ValueError("no picture")

    batcher = Batcher(lambda pixels: np.zeros((len(pixels), 2), np.float32))
    gc.collect()
    gc.disable()
    try:
        for kind in (Sent, Bad):
            sent = kind()
            left = weakref.ref(sent)
            job = batcher.submit_later(sent, 1)
            assert (job.exception(10) is None) == (kind is Sent)
            del sent, job
            until = time.monotonic() + 10
            while left() is not None and time.monotonic() < until:  # until its thread waits again
                time.sleep(0.001)
            assert left() is None
    finally:
        gc.enable()
        batcher.close()


def test_more_threads_than_lanes_make_canvases_while_the_graph_runs() -> None:
    runner = Held()
    made = threading.Event()
    batcher = Batcher(runner, lanes=1, workers=2)
    first = batcher.submit(canvases(1))
    assert runner.entered.acquire(timeout=10)

    def make() -> NDArray[np.uint8]:
        made.set()
        return canvases(2)

    second = batcher.submit_later(make, 1)
    assert made.wait(10)  # while the first still runs
    assert not runner.entered.acquire(timeout=0.1)  # and the graph waits for it
    for _ in range(2):
        runner.go.release()
    assert [job.result(10).logits[0, 0] for job in (first, second)] == [1, 2]
    batcher.close()


def test_an_error_reaches_everyone_who_waits_and_the_next_job_is_run() -> None:
    def broken(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        if pixels[0, 0, 0, 0] == 1:
            raise RuntimeError("the graph failed")
        return np.zeros((len(pixels), 2), np.float32)

    batcher = Batcher(broken)
    with pytest.raises(RuntimeError, match="the graph failed"):
        batcher.submit(canvases(1)).result(10)
    assert batcher.submit(canvases(2)).result(10).logits.shape == (1, 2)
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(canvases(1))


def test_answers_do_not_depend_on_neighbours(tmp_path: Path) -> None:
    bundle = with_network(tmp_path, "mobilenet_v2", 64)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    for name in RUNNERS:
        runner = open_runner(bundle, by=name)
        alone = np.concatenate([runner(pixels[row : row + 1]) for row in range(len(pixels))])
        batcher = Batcher(runner, largest=7, lanes=2)
        with ThreadPoolExecutor(8) as pool:
            jobs = list(pool.map(batcher.submit, np.split(pixels, len(pixels))))
        found = np.concatenate([job.result(60).logits for job in jobs])
        batcher.close()
        np.testing.assert_allclose(probabilities(found, 1.0), probabilities(alone, 1.0), atol=1e-6, rtol=0)

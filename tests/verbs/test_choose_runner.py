"""Which library answers: the faster one of those that are right, and the plain one wherever there is doubt."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmeter import runners
from lightmeter.errors import BundleError, ExamError, UsageError
from lightmeter.nouns.bundle import LOGITS, Bundle
from lightmeter.runners import PLAIN, RUNNERS, Runner, cores, open_runner
from lightmeter.verbs import choose_runner as module
from lightmeter.verbs.choose_runner import Chosen, choose_runner
from tests.bundles import reseal


def put(monkeypatch: pytest.MonkeyPatch, wrap: Any) -> None:
    """Let the other runner be the plain one, changed."""

    def opened(bundle: Bundle, *, threads: int, lanes: int) -> Runner:
        changed: Runner = wrap(RUNNERS[PLAIN](bundle, threads=threads, lanes=lanes))
        return changed

    monkeypatch.setitem(runners.RUNNERS, "openvino", opened)


def at(monkeypatch: pytest.MonkeyPatch, speeds: dict[tuple[str, int], float]) -> None:
    """Let ways of running be found this fast: (library, threads) -> pictures a second; two cores, if they have been."""
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "_speeds", lambda _, candidates: [speeds[one.by, one.threads] for one in candidates])


PLAIN_ALONE, PLAIN_WIDE, OTHER_ALONE, OTHER_WIDE = (PLAIN, 1), (PLAIN, 2), ("openvino", 1), ("openvino", 2)


@pytest.mark.parametrize("name", sorted(RUNNERS))
def test_what_is_asked_for_is_taken_and_sits_the_exam(name: str, bundle: Bundle) -> None:
    chosen = choose_runner(bundle, by=name)
    assert (chosen.by, chosen.exam.n, chosen.exam.top1_flips) == (name, 8, 0)
    assert chosen.threads * chosen.lanes <= max(1, cores())
    assert type(chosen.runner) is type(open_runner(bundle, by=name))


def test_one_of_those_that_are_right_is_chosen_with_a_reason(bundle: Bundle) -> None:
    chosen = choose_runner(bundle)
    assert chosen.by in RUNNERS
    assert "openvino" in chosen.reason or "times as fast" in chosen.reason


def test_a_slower_one_is_left(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def slower(runner: Runner) -> Runner:
        def run(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
            time.sleep(0.05)
            return runner(pixels)

        return run

    put(monkeypatch, slower)
    chosen = choose_runner(bundle)
    assert chosen.by == PLAIN and chosen.reason.startswith("openvino is no faster here; ")


def test_a_faster_one_is_taken(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 80, OTHER_ALONE: 120, OTHER_WIDE: 150})
    chosen = choose_runner(bundle)
    assert (chosen.by, chosen.threads, chosen.lanes) == ("openvino", 2, 1)
    assert chosen.reason == "1.5 times as fast as onnxruntime here; one call at a time on 2 cores"


def test_one_that_is_hardly_faster_is_left(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 80, OTHER_ALONE: 105, OTHER_WIDE: 109})
    chosen = choose_runner(bundle)
    assert (chosen.by, chosen.threads, chosen.lanes) == (PLAIN, 1, 2)
    assert chosen.reason == "openvino is no faster here; 2 calls side by side on one core each"


def test_calls_run_side_by_side_or_on_all_cores_as_is_faster(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 130})
    assert choose_runner(bundle, by=PLAIN).threads == 2
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 70})
    assert choose_runner(bundle, by=PLAIN).threads == 1


def test_what_is_measured_is_the_speed_of_one_caller_and_of_all(bundle: Bundle) -> None:
    class Timed:
        """Takes 30 ms for a picture; in lanes or one call at a time."""

        def __init__(self, lanes: int) -> None:
            self.lock = threading.Semaphore(lanes)

        def __call__(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
            with self.lock:
                time.sleep(0.03 * len(pixels))
            return np.zeros((len(pixels), 5), np.float32)

    exam = choose_runner(bundle, by=PLAIN).exam
    ways = [Chosen("a", 3, 1, Timed(1), exam, ""), Chosen("b", 1, 3, Timed(3), exam, "")]
    one, three = module._speeds(bundle, ways)
    assert one == pytest.approx(1 / 0.03, rel=0.3)
    assert three / one == pytest.approx(3**0.5, rel=0.3)


def test_one_whose_calls_fail_side_by_side_is_left(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    class Alone:
        """Passes its exam, and takes no second call while one is under way."""

        def __init__(self, runner: Runner) -> None:
            self.runner, self.lock = runner, threading.Lock()

        def __call__(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.float32]]:
            if not self.lock.acquire(blocking=False):
                raise BundleError("It is busy.")
            with contextlib.ExitStack() as stack:
                stack.callback(self.lock.release)
                time.sleep(0.005)
                return self.runner(pixels)

    monkeypatch.setattr(module, "cores", lambda: 2)
    put(monkeypatch, Alone)
    assert choose_runner(bundle).by == PLAIN


def test_a_choice_made_before_is_kept_where_it_passes(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 130})
    before = choose_runner(bundle, by=PLAIN)
    monkeypatch.setattr(module, "_speeds", None)
    again = choose_runner(bundle, before=before)
    assert (again.by, again.threads, again.reason) == (PLAIN, 2, before.reason)
    monkeypatch.undo()
    put(monkeypatch, lambda runner: lambda pixels: runner(pixels) + 0.1)
    wrong = Chosen("openvino", 1, 1, before.runner, before.exam, "it was the fastest")
    assert choose_runner(bundle, before=wrong).by == PLAIN


def test_a_wrong_one_is_left_however_fast(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, lambda runner: lambda pixels: runner(pixels) + 0.1)
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 80, OTHER_ALONE: 900, OTHER_WIDE: 900})
    chosen = choose_runner(bundle)
    assert chosen.by == PLAIN
    assert chosen.reason.startswith("openvino was left: The exam failed: logits differ")


def test_one_that_cannot_load_the_graph_is_left(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> Runner:
        raise BundleError("It knows no such operator.")

    monkeypatch.setitem(runners.RUNNERS, "openvino", cannot)
    assert choose_runner(bundle).by == PLAIN


def test_where_no_other_is_installed_none_is_tried(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    at(monkeypatch, {PLAIN_ALONE: 100, PLAIN_WIDE: 130})
    assert choose_runner(bundle).reason == "no other is installed; one call at a time on 2 cores"


def test_a_bundle_that_fails_its_exam_is_served_by_none(own_bundle: Path) -> None:
    logits = np.load(own_bundle / LOGITS)
    np.save(own_bundle / LOGITS, logits + 1)
    reseal(own_bundle)
    for name in ("auto", *RUNNERS):
        with pytest.raises(ExamError):
            choose_runner(Bundle.open(own_bundle), by=name)


def test_an_unknown_one_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="abacus"):
        choose_runner(bundle, by="abacus")

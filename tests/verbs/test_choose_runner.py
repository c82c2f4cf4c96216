"""Which library answers: the faster one of those that are right, and the plain one wherever there is doubt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmeter import runners
from lightmeter.errors import BundleError, ExamError, UsageError
from lightmeter.nouns.bundle import LOGITS, Bundle
from lightmeter.runners import PLAIN, RUNNERS, Runner, open_runner
from lightmeter.verbs import choose_runner as module
from lightmeter.verbs.choose_runner import choose_runner
from tests.bundles import reseal


def put(monkeypatch: pytest.MonkeyPatch, wrap: Any) -> None:
    """Let the other runner be the plain one, changed."""

    def opened(bundle: Bundle, *, threads: int) -> Runner:
        changed: Runner = wrap(RUNNERS[PLAIN](bundle, threads=threads))
        return changed

    monkeypatch.setitem(runners.RUNNERS, "openvino", opened)


@pytest.mark.parametrize("name", sorted(RUNNERS))
def test_what_is_asked_for_is_taken_and_sits_the_exam(name: str, bundle: Bundle) -> None:
    chosen = choose_runner(bundle, by=name, threads=1)
    assert (chosen.by, chosen.exam.n, chosen.exam.top1_flips) == (name, 8, 0)
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
    assert (chosen.by, chosen.reason) == (PLAIN, "openvino is no faster here")


def test_a_faster_one_is_taken(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_times_faster", lambda *_: 1.5)
    chosen = choose_runner(bundle)
    assert (chosen.by, chosen.reason) == ("openvino", "1.5 times as fast as onnxruntime here")


def test_a_wrong_one_is_left_however_fast(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, lambda runner: lambda pixels: runner(pixels) + 0.1)
    monkeypatch.setattr(module, "_times_faster", lambda *_: 9.0)
    chosen = choose_runner(bundle)
    assert chosen.by == PLAIN
    assert chosen.reason.startswith("openvino was left: The exam failed: logits differ")


def test_one_that_cannot_load_the_graph_is_left(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object, **__: object) -> Runner:
        raise BundleError("It knows no such operator.")

    monkeypatch.setitem(runners.RUNNERS, "openvino", cannot)
    assert choose_runner(bundle).by == PLAIN


def test_where_no_other_is_installed_nothing_is_measured(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.setattr(module, "_times_faster", None)
    assert choose_runner(bundle).reason == "no other is installed"


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

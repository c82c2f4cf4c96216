"""Choose a runner: which of the libraries that can run graphs answers this bundle fastest here, and right."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

import numpy as np

from lightmeter.errors import LightmeterError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import PLAIN, RUNNERS, Runner, open_runner
from lightmeter.verbs.verify import ExamResult, sit_exam

AUTO = "auto"
_WORTH = 1.1  # times faster, or the one that is always there is kept
_TOGETHER = 8  # pictures in the larger of the two batches that are timed; the smaller has one
_SECONDS = 0.5  # for timing, roughly
_ROUNDS = 3  # at least


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """A runner that has passed the bundle's exam.

    Attributes:
        by: its name in `RUNNERS`.
        exam: what it got.
        reason: why this one, for people.
    """

    by: str
    runner: Runner
    exam: ExamResult
    reason: str


def choose_runner(bundle: Bundle, *, by: str = AUTO, threads: int = 0) -> Chosen:
    """The runner of that name; with "auto" the fastest of those installed that passes the exam.

    Speed is measured side by side, a picture at a time and eight, on the canvases of the exam.

    Raises:
        UsageError: no such runner, or it is not installed.
        BundleError, ExamError: the bundle cannot be run, or fails its exam, by the runner named or by the plain one.
    """
    runner = open_runner(bundle, threads=threads, by=PLAIN if by == AUTO else by)
    chosen = Chosen(PLAIN if by == AUTO else by, runner, sit_exam(bundle, runner), "it was asked for")
    if by != AUTO:
        return chosen
    others = [name for name in RUNNERS if name != PLAIN and find_spec(name) is not None]
    if not others:
        return Chosen(PLAIN, runner, chosen.exam, "no other is installed")
    best, gain, refused = chosen, 1.0, []
    for name in others:
        try:
            other = open_runner(bundle, threads=threads, by=name)
            exam = sit_exam(bundle, other)
        except LightmeterError as error:
            refused.append(f"{name} was left: {error.received}")
            continue
        faster = _times_faster(bundle, runner, other)
        if faster > max(gain, _WORTH):
            best, gain = Chosen(name, other, exam, f"{faster:.1f} times as fast as {PLAIN} here"), faster
    if best is chosen:
        reason = "; ".join(refused) or f"{' and '.join(others)} is no faster here"
        return Chosen(PLAIN, runner, chosen.exam, reason)
    return best


def _times_faster(bundle: Bundle, plain: Runner, other: Runner) -> float:
    """How many times as fast `other` is: plain's seconds for one picture and for eight, over other's."""
    canvases = bundle.exam().canvases
    canvases = np.concatenate([canvases] * -(-_TOGETHER // len(canvases)))[:_TOGETHER]

    def seconds(runner: Runner, count: int) -> Callable[[], float]:
        def once() -> float:
            start = time.perf_counter()
            runner(canvases[:count])
            return time.perf_counter() - start

        once()  # the first call makes what the others use again
        return once

    total = [0.0, 0.0]
    for count in (1, _TOGETHER):
        sides = [seconds(plain, count), seconds(other, count)]
        times: tuple[list[float], list[float]] = ([], [])
        while len(times[0]) < _ROUNDS or sum(times[0]) + sum(times[1]) < _SECONDS / 2:
            for taken, side in zip(times, sides, strict=True):
                taken.append(side())
        for place, taken in enumerate(times):
            total[place] += median(taken) / count  # per picture, so that both batches weigh the same
    return total[0] / total[1]

"""Choose a runner: which library, and how many threads for one call, answer this bundle fastest here, and right."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from statistics import median

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import LightmeterError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import PLAIN, RUNNERS, Runner, cores, open_runner
from lightmeter.verbs.verify import ExamResult, sit_exam

AUTO = "auto"
_WORTH = 1.1  # times faster, or the plain one is kept
_TOGETHER = 4  # pictures in the larger of the two batches that are timed; the smaller has one
_SECONDS = 1.0  # for timing, roughly
_ROUNDS = 3  # at least, unless so many seconds have gone:
_PATIENCE = 4.0


@dataclass(frozen=True, eq=False, slots=True)
class Chosen:
    """A runner that has passed the bundle's exam.

    Attributes:
        by: its name in `RUNNERS`.
        threads: that one call uses.
        lanes: calls that may run side by side, so that all together use every core.
        exam: what it got.
        reason: why this one, for people.
    """

    by: str
    threads: int
    lanes: int
    runner: Runner
    exam: ExamResult
    reason: str


def choose_runner(bundle: Bundle, *, by: str = AUTO) -> Chosen:
    """The fastest way to run a bundle of those that pass its exam.

    One call may use every core, or one alone with as many calls side by side: the one is faster for a large network,
    the other for a small one. Speed is measured side by side, for one caller with one picture and for as many callers
    as there are lanes with one and four, on the canvases of the exam; both count alike.

    Args:
        by: a name in `RUNNERS`, or "auto", which tries those that are installed.

    Raises:
        UsageError: no such runner, or it is not installed.
        BundleError, ExamError: the bundle cannot be run, or fails its exam, by the runner named or by the plain one.
    """
    must = PLAIN if by == AUTO else by
    names = [must, *(name for name in RUNNERS if by == AUTO and name != PLAIN and find_spec(name) is not None)]
    right: list[Chosen] = []
    refused: dict[str, str] = {}
    for name in names:
        try:
            right += [_examined(bundle, name, threads) for threads in sorted({1, cores()})]
        except LightmeterError as error:
            if name == must:
                raise
            refused[name] = error.received
    speeds = _speeds(bundle, right) if len(right) > 1 else [1.0]
    plain = max(speed for one, speed in zip(right, speeds, strict=True) if one.by == must)
    worth = [speed / (1.0 if one.by == must else _WORTH) for one, speed in zip(right, speeds, strict=True)]
    place = int(np.argmax(worth))
    reason = _reason(right[place], names, refused, speeds[place] / plain)
    if len(names) == 1:
        reason = ("no other is installed" if by == AUTO else "it was asked for") + reason
    return replace(right[place], reason=reason)


def _examined(bundle: Bundle, by: str, threads: int) -> Chosen:
    """One way of running it, that passes the exam; no reason yet. Raises as `choose_runner`."""
    lanes = max(1, cores() // threads)
    runner = open_runner(bundle, threads=threads, lanes=lanes, by=by)
    return Chosen(by, threads, lanes, runner, sit_exam(bundle, runner), "")


def _reason(one: Chosen, names: Sequence[str], refused: Mapping[str, str], gain: float) -> str:
    """Why it, for people; `names` as they were tried, the plain one first, and what was wrong with some of them."""
    others = [name for name in names[1:] if name not in refused]
    if one.by != names[0]:
        why = [f"{gain:.1f} times as fast as {names[0]} here"]
    else:
        why = [f"{name} was left: {said}" for name, said in refused.items()]
        why += [f"{' and '.join(others)} is no faster here"] if others else []
    cores_of = "one core" if one.threads == 1 else f"{one.threads} cores"
    how = f"{one.lanes} calls side by side on {cores_of} each" if one.lanes > 1 else f"one call at a time on {cores_of}"
    return "; ".join(why) + f"; {how}"


def _speeds(bundle: Bundle, candidates: Sequence[Chosen]) -> list[float]:
    """Of each candidate the pictures a second, the geometric mean of those of one caller and those of all lanes."""
    canvases = bundle.exam().canvases
    canvases = np.concatenate([canvases] * -(-_TOGETHER // len(canvases)))[:_TOGETHER]
    jobs: list[Callable[[], float]] = []
    for one in candidates:
        loads = ((1, 1), (one.lanes, 1), (one.lanes, _TOGETHER))  # callers at once, pictures in a call
        jobs += [partial(_pace, one.runner, callers, canvases[:count]) for callers, count in loads]
    for job in jobs:
        job()  # the first call makes what the others use again
    taken: list[list[float]] = [[] for _ in jobs]
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < _SECONDS or (len(taken[0]) < _ROUNDS and took < _PATIENCE):
        for job, times in zip(jobs, taken, strict=True):
            times.append(job())
    alone, single, several = (np.array([median(times) for times in taken[place::3]]) for place in range(3))
    return [float(rate) for rate in 1 / np.sqrt(alone * (single + several) / 2)]


def _pace(runner: Runner, callers: int, pixels: NDArray[np.uint8]) -> float:
    """Seconds for a picture where so many threads call at once."""
    others = [threading.Thread(target=runner, args=(pixels,)) for _ in range(callers - 1)]
    began = time.perf_counter()
    for thread in others:
        thread.start()
    runner(pixels)
    for thread in others:
        thread.join()
    return (time.perf_counter() - began) / (callers * len(pixels))

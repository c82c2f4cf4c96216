"""Choose a runner: which library, and how many threads for one call, answer this bundle fastest here, and right."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError, LightmeterError
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


def choose_runner(bundle: Bundle, *, by: str = AUTO, before: Chosen | None = None) -> Chosen:
    """The fastest way to run a bundle of those that pass its exam.

    One call may use every core, or one alone with as many calls side by side: the one is faster for a large network,
    the other for a small one. Speed is measured side by side, for one caller with one picture and for as many callers
    as there are lanes with one and four, on the canvases of the exam; both count alike.

    Args:
        by: a name in `RUNNERS`, or "auto", which tries those that are installed.
        before: a choice for a bundle like it, which is kept where the bundle passes that way, and nothing is measured.

    Raises:
        UsageError: no such runner, or it is not installed.
        BundleError, ExamError: the bundle cannot be run, or fails its exam, by the runner named or by the plain one.
    """
    if before is not None:
        with contextlib.suppress(LightmeterError):
            return replace(_examined(bundle, before.by, before.threads), reason=before.reason)
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
    for one, speed in zip(right, speeds, strict=True):
        if not speed:
            refused[one.by] = "calls that run side by side fail"
    plain = max(speed for one, speed in zip(right, speeds, strict=True) if one.by == must)
    if not plain:
        raise BundleError(f"{bundle.path} fails where several calls run side by side.")
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
    """Of each candidate the pictures a second, the geometric mean of those of one caller and those of all lanes; 0
    where calls fail.
    """
    canvases = bundle.exam().canvases
    canvases = np.concatenate([canvases] * -(-_TOGETHER // len(canvases)))[:_TOGETHER]
    taken: list[list[list[float]]] = [[] for _ in candidates]  # candidate, round, load
    with contextlib.ExitStack() as stack:
        pools = [stack.enter_context(ThreadPoolExecutor(one.lanes)) for one in candidates]
        began = time.perf_counter()
        # The first round is not counted: it makes threads, and what a library keeps for each of them.
        while (took := time.perf_counter() - began) < _SECONDS or (len(taken[0]) <= _ROUNDS and took < _PATIENCE):
            for one, pool, rounds in zip(candidates, pools, taken, strict=True):
                loads = ((1, 1), (one.lanes, 1), (one.lanes, _TOGETHER))  # callers at once, pictures in a call
                rounds.append([_pace(one.runner, pool, callers, canvases[:count]) for callers, count in loads])
    speeds = []
    for rounds in taken:
        alone, single, several = np.median(np.array(rounds[1:] or rounds), axis=0).tolist()
        speeds.append((alone * (single + several) / 2) ** -0.5)
    return speeds


def _pace(runner: Runner, pool: ThreadPoolExecutor, callers: int, pixels: NDArray[np.uint8]) -> float:
    """Seconds for a picture where so many threads call at once; infinitely many where a call fails."""
    began = time.perf_counter()
    calls = [pool.submit(runner, pixels) for _ in range(callers)]
    if any(call.exception() is not None for call in calls):
        return math.inf
    return (time.perf_counter() - began) / (callers * len(pixels))

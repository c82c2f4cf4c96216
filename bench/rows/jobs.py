"""P3 and P7: whole jobs against the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.arrays import cifar_arrays, cifar_folder
from bench.pairs import ROOT, Outcome, pairs_worth, ratio, side_command
from bench.rows.base import Row


def answered(command: list[str], **environment: str) -> tuple[dict[str, Any], float]:
    """The last line of what a command says, as JSON, and the seconds it took."""
    began = time.monotonic()
    told = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=told)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer, time.monotonic() - began


def trained(source: str, budget: float, seed: int, *, cold: bool = False) -> tuple[dict[str, Any], float]:
    """`lightmeter train` in a process of its own, and its wall-clock seconds; `cold`, nothing is kept from before."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["train", source, "--budget", f"{budget:g}s", "--seed", str(seed), "--out", str(Path(scratch) / "run")]
        empty = {"LIGHTMETER_CACHE": str(Path(scratch) / "cache")} if cold else {}
        return answered([sys.executable, "-m", "lightmeter", *words, "--json"], **empty)


def errors(quick: bool) -> Outcome:
    """Test errors of CIFAR-10 at the same deadlines, start-up included; the ratio is the worse one of them.

    Ours starts with an empty cache each time: reading, checking and measuring are within its seconds. Of the others,
    importing PyTorch is not. In a quick look each side is tested on other pictures: it is no comparison.

    The port of airbench runs beside them, but for a quick look: what it reaches stands in the details.
    """
    found: list[tuple[float, float, float]] = []
    values: dict[float, dict[str, list[float]]] = {}
    walls: dict[str, dict[str, list[float]]] = {}
    answers: dict[str, list[dict[str, Any]]] = {}
    others = {"theirs": "onecycle_textbook"} | ({} if quick else {"airbench": "airbench_port"})
    images, tested = (2000, 400) if quick else (50_000, 10_000)
    with tempfile.TemporaryDirectory() as scratch, cifar_arrays():
        source = cifar_folder(Path(scratch), images, tested, tested) if quick else "cifar10"
        for seconds in (25.0,) if quick else (300.0, 900.0):
            of: dict[str, list[float]] = {name: [] for name in ("ours", *others)}
            took: dict[str, list[float]] = {name: [] for name in of}
            for seed in range(1 if quick else pairs_worth(seconds)):
                mine, wall = trained(source, seconds, seed, cold=True)
                of["ours"].append(1 - mine["test"]["accuracy"])
                took["ours"].append(wall)
                for name, script in others.items():
                    other, wall = answered(side_command(script, str(seconds), str(seed), str(images), str(tested)))
                    of[name].append(1 - other["accuracy"])
                    took[name].append(wall)
                    answers.setdefault(f"{seconds:g} s: {name} told", []).append(other)
            walls[f"{seconds:g} s: wall-clock"] = took
            n = mine["test"]["n"], other["n"]
            found.append(_error_ratio(of["ours"], of["theirs"], n))
            values[seconds] = of
    worst = max(found)
    at = list(values)[found.index(worst)]
    details: dict[str, Any] = {f"{seconds:g} s": of for seconds, of in values.items()} | walls | answers
    for seconds, of in () if quick else values.items():
        beside = dict(zip(("ratio", "low", "high"), _error_ratio(of["ours"], of["airbench"], n), strict=True))
        details[f"{seconds:g} s against airbench"] = beside
    return Outcome("P3", tuple(values[at]["ours"]), tuple(values[at]["theirs"]), *worst, details)


def _error_ratio(ours: list[float], theirs: list[float], n: tuple[int, int]) -> tuple[float, float, float]:
    """Of the medians; its interval over pairs, or for one pair over test pictures drawn anew."""
    if len(ours) > 1:
        return ratio(ours, theirs)
    random = np.random.default_rng(0)
    drawn = random.binomial(n[0], ours[0], 10_000) / n[0], random.binomial(n[1], theirs[0], 10_000) / n[1]
    low, high = np.quantile(drawn[0] / drawn[1], [0.025, 0.975])
    return ours[0] / theirs[0], float(low), float(high)


def deadlines(quick: bool) -> Outcome:
    """Wall-clock seconds of whole commands beside their budgets; the ratio is the worst, and 1 is on time."""
    jobs = [("digits", 20.0)] if quick else [("digits", 60.0), ("fashion-mnist", 300.0), ("cifar10", 1800.0)]
    ours: list[float] = []
    budgets: list[float] = []
    for source, budget in jobs:
        for seed in range(1 if quick else pairs_worth(budget)):
            ours.append(trained(source, budget, seed)[1])
            budgets.append(budget)
    shares = [wall / budget for wall, budget in zip(ours, budgets, strict=True)]
    details = {"wall": ours, "budget": budgets, "over": [max(0.0, w - b) for w, b in zip(ours, budgets, strict=True)]}
    return Outcome("P7", tuple(ours), tuple(budgets), max(shares), min(shares), max(shares), details)


P3 = Row(
    "P3",
    "test error on CIFAR-10 at 5 and 15 min, start-up included (the worse of both)",
    "ResNet-18 with OneCycle, its schedule fitted to that time",
    0.6,
    0.4,
    "below",
    errors,
)
P7 = Row("P7", "wall-clock of budgets of 1, 5 and 30 min (the worst)", "the budget", 1.02, 1.01, "below", deadlines)

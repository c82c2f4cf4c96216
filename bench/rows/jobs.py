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

from bench.arrays import cifar_arrays
from bench.pairs import ROOT, Outcome, pairs_worth, ratio, side_command
from bench.rows.base import Row


def answered(command: list[str], **environment: str) -> tuple[dict[str, Any], float]:
    """The last line of what a command says, as JSON, and the seconds it took."""
    began = time.monotonic()
    told = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=told
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer, time.monotonic() - began


def trained(source: str, budget: float, seed: int) -> tuple[dict[str, Any], float]:
    """`lightmeter train` in a process of its own, and its wall-clock seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        words = ["train", source, "--budget", f"{budget:g}s", "--seed", str(seed), "--out", str(Path(scratch) / "run")]
        return answered([sys.executable, "-m", "lightmeter", *words, "--json"])


def errors(quick: bool) -> Outcome:
    """Test errors of CIFAR-10 at the same deadlines, start-up included; the ratio is the worse one of them.

    The port of airbench runs beside them: what it reaches stands in the details.
    """
    found: list[tuple[float, float, float]] = []
    values: dict[float, dict[str, list[float]]] = {}
    images = "5000" if quick else "50000"
    with cifar_arrays():
        for seconds in (20.0,) if quick else (300.0, 900.0):
            of: dict[str, list[float]] = {"ours": [], "theirs": [], "airbench": []}
            for seed in range(1 if quick else pairs_worth(seconds)):
                mine, _ = trained("cifar10", seconds, seed)
                of["ours"].append(1 - mine["test"]["accuracy"])
                for name, script in (("theirs", "onecycle_textbook"), ("airbench", "airbench_port")):
                    other, _ = answered(side_command(script, str(seconds), str(seed), images))
                    of[name].append(1 - other["accuracy"])
            n = mine["test"]["n"], other["n"]
            found.append(_error_ratio(of["ours"], of["theirs"], n))
            values[seconds] = of
    worst = max(found)
    at = list(values)[found.index(worst)]
    details: dict[str, Any] = {f"{seconds:g} s": of for seconds, of in values.items()}
    for seconds, of in values.items():
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

"""Two ways of doing a thing, measured in turns: A-B-A-B, and the ratio of their medians with its interval.

Each side is a process of its own that gets ready once, prints "ready", and then answers every line "go" on its standard
input with one line of JSON, `{"value": number, ...}`. So both are warm, neither shares memory with the other, and a
slow minute of the machine falls on both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
SIDES = Path(__file__).resolve().parent / "sides"
_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row of the table came to.

    Attributes:
        id: of the row.
        ours, theirs: one value a pair.
        ratio, low, high: of the medians, and its 95 % interval.
        details: what else is worth keeping, as plain JSON values.
        sound: whether the row's other condition holds, such as no accuracy lost; without it no mark is cleared.
    """

    id: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    ratio: float
    low: float
    high: float
    details: Mapping[str, Any] = field(default_factory=dict)
    sound: bool = True

    def document(self) -> dict[str, Any]:
        """{"id", "ratio", "low", "high", "pairs", "ours", "theirs"}: the medians of both sides."""
        ours, theirs = float(np.median(self.ours)), float(np.median(self.theirs)) if self.theirs else 0.0
        numbers = {"ratio": self.ratio, "low": self.low, "high": self.high}
        rounded = {name: round(value, 4) for name, value in numbers.items()}
        return {"id": self.id, **rounded, "pairs": len(self.ours), "ours": round(ours, 5), "theirs": round(theirs, 5)}


class Side:
    """A process that measures one side whenever it is told to."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )
        self.ready = self._line()

    def go(self) -> dict[str, Any]:
        """Measure once."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # libraries greet on standard output, too
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"{self.name} ended with code {self._process.wait()}: see its messages above.")

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def side_command(script: str, *words: str, python: str | Path = sys.executable) -> list[str]:
    """The command that runs a script of `bench/sides` with a Python, ours by default."""
    return [str(python), str(SIDES / f"{script}.py"), *words]


@contextmanager
def sides(*commands: tuple[str, list[str]]) -> Iterator[list[Side]]:
    """Start (name, command) sides, one after another, and end them."""
    with ExitStack() as stack:
        started = []
        for name, command in commands:
            side = Side(name, command)
            stack.callback(side.close)
            started.append(side)
        yield started


def pairs_worth(seconds: float) -> int:
    """How many pairs are run of jobs that last so long: 5, above a minute 3, above five minutes 1."""
    return 5 if seconds <= 60 else 3 if seconds <= 300 else 1


def interleave(
    ours: Callable[[], float], theirs: Callable[[], float], pairs: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Both sides in turns; the one that goes first changes from pair to pair."""
    found: tuple[list[float], list[float]] = [], []
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):
            found[which].append((ours, theirs)[which]())
    return tuple(found[0]), tuple(found[1])


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Ratio of medians, and its 95 % interval by resampling the pairs."""
    first, second = np.asarray(above, float), np.asarray(below, float)
    chosen = np.random.default_rng(0).integers(len(first), size=(_RESAMPLES, len(first)))
    drawn = np.median(first[chosen], axis=1) / np.median(second[chosen], axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.median(first) / np.median(second)), float(low), float(high)


def points_apart(
    runs: Sequence[Mapping[str, Any]], one: str, other: str, error: str = "error"
) -> dict[str, float] | None:
    """Points by which the error of `one` is higher than that of `other`, over the seeds of both, by Student.

    Args:
        runs: {"by": name, "seed": number, ERROR: 0..1, ...} each.
        error: name of the error.
    """
    errors = {(run["by"], run["seed"]): run[error] for run in runs}
    seeds = [seed for by, seed in errors if by == one and (other, seed) in errors]
    apart = 100 * np.array([errors[one, seed] - errors[other, seed] for seed in seeds])
    if len(apart) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart)))
    mean = float(apart.mean())
    return {"points": round(mean, 2), "low": round(mean - half, 2), "high": round(mean + half, 2), "n": len(apart)}

"""What every side says and hears; only the standard library, as some sides run in an environment of a peer."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def answer(measure: Callable[[], dict[str, Any]], **facts: Any) -> None:
    """Say that all is ready, with some facts, then measure whenever a line comes in."""
    _say({"ready": True, **facts})
    for _ in sys.stdin:
        _say(measure())


def peak_mib() -> float:
    """The most memory that this process had resident so far.

    Not `ru_maxrss`, which begins at what the process that started this one had.
    """
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def _say(answered: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answered) + "\n")
    sys.stdout.flush()


def images_per_second(step: Callable[[], int], seconds: float) -> float:
    """Of `step`, which says how many images it took, over at least so many seconds; the first step is not counted."""
    step()
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += step()
    return images / (time.perf_counter() - began)

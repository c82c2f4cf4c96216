"""A Clock: how much of a wall-clock budget is used, counted from the start of the process."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds since a beginning, on a clock that never jumps.

    Attributes:
        began: `time.monotonic()` at the beginning; earlier than the process where a run was resumed.
        budget: seconds in all, or None for no limit.
    """

    began: float
    budget: float | None

    @property
    def elapsed(self) -> float:
        """Seconds used."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds left of the budget; infinite without one."""
        return float("inf") if self.budget is None else self.budget - self.elapsed


def process_start() -> float:
    """`time.monotonic()` when this process began, so that interpreter and import time count; now where unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Field 22 of the line, counted after the command's closing bracket: start in ticks since boot.
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        if 0 <= age < 600:
            return time.monotonic() - age
    return time.monotonic()

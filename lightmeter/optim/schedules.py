"""Progress through training, 0..1, to the learning rate as a factor of its peak."""

from __future__ import annotations

import math
from collections.abc import Callable

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Schedule


def _constant(done: float) -> float:
    return 1.0


def _linear(done: float) -> float:
    return 1.0 - done


def _cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": _constant, "linear": _linear, "cosine": _cosine}
"""Fall from 1 at 0 (the end of warm-up) to 0 at 1 (the end of training); "constant" stays."""


def factor(progress: float, schedule: Schedule) -> float:
    """Learning rate as a factor of its peak after `progress` (0..1) of all steps.

    Rises from 0 over `schedule.warmup`, then falls from 1 to `schedule.final` in the schedule's shape.

    Raises:
        RecipeError: no schedule of that name.
    """
    shape = SCHEDULES.get(schedule.name)
    if shape is None:
        raise RecipeError(f"There is no schedule called {schedule.name!r}.", "one of " + ", ".join(SCHEDULES))
    progress = min(max(progress, 0.0), 1.0)
    if progress < schedule.warmup:
        return progress / schedule.warmup
    done = (progress - schedule.warmup) / (1.0 - schedule.warmup)
    return schedule.final + (1.0 - schedule.final) * shape(done)

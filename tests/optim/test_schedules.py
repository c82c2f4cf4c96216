"""Learning rates over progress."""

from __future__ import annotations

import itertools
import math

import pytest

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Schedule
from lightmeter.optim import SCHEDULES, factor


@pytest.mark.parametrize(
    ("name", "progress", "expected"),
    [
        ("constant", 0.9, 1.0),
        ("linear", 0.0, 1.0),
        ("linear", 0.25, 0.75),
        ("linear", 1.0, 0.0),
        ("cosine", 0.25, 0.5 + 0.5 * math.cos(math.pi / 4)),
        ("cosine", 0.5, 0.5),
    ],
)
def test_values_without_warm_up(name: str, progress: float, expected: float) -> None:
    assert factor(progress, Schedule(name=name)) == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_it_rises_over_the_warm_up_then_falls_to_its_final_value(name: str) -> None:
    schedule = Schedule(name=name, warmup=0.2, final=0.1)
    values = [factor(step / 1000, schedule) for step in range(1001)]
    assert values[0] == 0
    assert values[100] == pytest.approx(0.5)
    assert values[200] == 1
    assert all(one < other for one, other in itertools.pairwise(values[:201]))
    assert all(one >= other for one, other in itertools.pairwise(values[200:]))
    assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.1)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_progress_outside_is_held_at_the_ends(name: str) -> None:
    schedule = Schedule(name=name, final=0.25)
    assert factor(-0.1, schedule) == factor(0.0, schedule)
    assert factor(1.1, schedule) == factor(1.0, schedule)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"(?s)no schedule called 'step'.*cosine"):
        factor(0.5, Schedule(name="step"))

"""The statistics of published comparisons, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from bench.pairs import pairs_worth, points_apart, ratio


def test_points_are_apart_by_students_interval_over_shared_seeds() -> None:
    errors = {"a": (0.10, 0.12, 0.14), "b": (0.09, 0.10, 0.11, 0.5)}
    runs = [{"by": by, "seed": seed, "error": error} for by, each in errors.items() for seed, error in enumerate(each)]
    found = points_apart(runs, "a", "b")  # of 1, 2 and 3 points: mean 2, deviation 1, t(0.975, 2) = 4.3027
    half = 4.3027 / 3**0.5
    assert found == {"points": 2.0, "low": round(2 - half, 2), "high": round(2 + half, 2), "n": 3}


def test_one_seed_tells_no_interval() -> None:
    runs = [{"by": by, "seed": 0, "worst": error} for by, error in (("a", 0.2), ("b", 0.1))]
    assert points_apart(runs, "a", "b", "worst") is None


def test_a_ratio_is_that_of_medians_and_its_interval_holds_it() -> None:
    value, low, high = ratio([10.0, 11.0, 12.0, 13.0, 30.0], [5.0, 5.0, 6.0, 6.5, 7.0])
    assert value == pytest.approx(2.0)
    assert 10 / 7 <= low <= value <= high <= 6


def test_long_comparisons_have_fewer_pairs() -> None:
    assert [pairs_worth(seconds) for seconds in (60.0, 61.0, 300.0, 301.0)] == [5, 3, 3, 1]

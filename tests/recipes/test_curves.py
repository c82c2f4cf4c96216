"""What was measured before, read between the points, and weighed by how much alike the pictures are."""

from __future__ import annotations

import math

import pytest

from lightmeter.recipes.curves import Grid, expected_error

ONE = Grid("a", 10_000, 10, 32, (0.5, 1.0), (2.0, 8.0), ((0.4, 0.2), (0.3, 0.1)))
OTHER = Grid("b", 1_000_000, 1_000, 64, (0.5, 1.0), (2.0, 8.0), ((0.9, 0.8), (0.9, 0.8)))


def test_a_grid_gives_its_own_points_and_values_between_them() -> None:
    for width, errors in zip(ONE.widths, ONE.errors, strict=True):
        for epochs, error in zip(ONE.epochs, errors, strict=True):
            assert expected_error(10_000, 10, 32, width, epochs, among=(ONE,)) == pytest.approx(error)
    between = expected_error(10_000, 10, 32, 0.5, 4.0, among=(ONE,))
    odds = (math.log(0.4 / 0.6) + math.log(0.2 / 0.8)) / 2
    assert between == pytest.approx(1 / (1 + math.exp(-odds)))


def test_nothing_more_is_promised_beyond_what_was_measured_and_less_before_it() -> None:
    def at(width: float, epochs: float) -> float:
        return expected_error(10_000, 10, 32, width, epochs, among=(ONE,))

    assert at(2.0, 8.0) == at(1.0, 8.0) == at(1.0, 100.0)
    assert at(0.1, 8.0) == at(0.5, 8.0)
    assert at(1.0, 0.5) > at(1.0, 1.0) > at(1.0, 2.0)
    assert 0 < at(1.0, 0.001) < 1


def test_sets_that_are_alike_count_for_more() -> None:
    near = expected_error(10_000, 10, 32, 1.0, 8.0, among=(ONE, OTHER))
    far = expected_error(1_000_000, 1_000, 64, 1.0, 8.0, among=(ONE, OTHER))
    assert 0.1 < near < 0.2
    assert 0.7 < far < 0.8

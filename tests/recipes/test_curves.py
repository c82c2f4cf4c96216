"""What was measured before, read between the points, and weighed by how much alike the pictures are."""

from __future__ import annotations

import math

import pytest

from lightmeter.recipes.curves import TABLE, Grid, expected_error, grids, nearest

ONE = Grid("a", 10_000, 10, 32, (0.5, 1.0), (2.0, 8.0), ((0.4, 0.2), (0.3, 0.1)))
OTHER = Grid("b", 1_000_000, 1_000, 64, (0.5, 1.0), (2.0, 8.0), ((0.9, 0.8), (0.9, 0.8)))


def test_a_grid_gives_its_own_points_and_values_between_them() -> None:
    for width, errors in zip(ONE.widths, ONE.errors, strict=True):
        for epochs, error in zip(ONE.epochs, errors, strict=True):
            assert expected_error(10_000, 10, 32, width, epochs, among=(ONE,)) == pytest.approx(error)
    between = expected_error(10_000, 10, 32, 0.5, 4.0, among=(ONE,))
    odds = (math.log(0.4 / 0.6) + math.log(0.2 / 0.8)) / 2
    assert between == pytest.approx(1 / (1 + math.exp(-odds)))


def test_beyond_what_was_measured_less_and_less_is_gained_and_before_it_the_line_goes_on() -> None:
    def at(width: float, epochs: float) -> float:
        return expected_error(10_000, 10, 32, width, epochs, among=(ONE,))

    def odds(error: float) -> float:
        return math.log(error / (1 - error))

    step = odds(0.1) - odds(0.3)  # of four times as many epochs
    assert odds(at(1.0, 32.0)) == pytest.approx(odds(0.1) + step / 2)
    assert odds(at(1.0, 128.0)) == pytest.approx(odds(0.1) + step * 3 / 4)
    assert odds(at(1.0, 1e9)) == pytest.approx(odds(0.1) + step, abs=0.01)
    assert odds(at(2.0, 8.0)) == pytest.approx(odds(0.1) + (odds(0.1) - odds(0.2)) / 2)
    assert at(0.1, 8.0) == at(0.5, 8.0)
    assert odds(at(1.0, 0.5)) == pytest.approx(odds(0.3) - step)
    assert 0 < at(1.0, 0.001) < 1


def test_what_chance_made_worse_is_not_drawn_on() -> None:
    noisy = Grid("a", 10_000, 10, 32, (0.25, 0.5), (6.0, 18.0), ((0.095, 0.0768), (0.0796, 0.0776)))

    def at(width: float, epochs: float) -> float:
        return expected_error(10_000, 10, 32, width, epochs, among=(noisy,))

    for epochs in (6.0, 18.0, 54.0, 500.0):
        assert at(0.25, epochs) >= at(0.5, epochs) >= at(1.0, epochs) >= at(2.0, epochs)
    upward = Grid("a", 10_000, 10, 32, (0.25, 0.5), (6.0, 18.0), ((0.08, 0.09), (0.07, 0.08)))
    assert expected_error(10_000, 10, 32, 0.25, 54.0, among=(upward,)) == pytest.approx(0.08)


def test_sets_that_are_alike_count_for_more() -> None:
    near = expected_error(10_000, 10, 32, 1.0, 8.0, among=(ONE, OTHER))
    far = expected_error(1_000_000, 1_000, 64, 1.0, 8.0, among=(ONE, OTHER))
    assert 0.1 < near < 0.2
    assert 0.7 < far < 0.8


def test_the_table_that_the_package_brings_is_whole() -> None:
    assert len(grids()) >= 4
    for grid in grids():
        assert list(grid.widths) == sorted(set(grid.widths)) and len(grid.widths) >= 2
        assert list(grid.epochs) == sorted(set(grid.epochs)) and len(grid.epochs) >= 2
        assert [len(row) for row in grid.errors] == [len(grid.epochs)] * len(grid.widths)
        assert all(0 < error < 1 for row in grid.errors for error in row)
        for row in grid.errors:
            assert row[-1] < row[0]  # more epochs are better, all else being equal


def test_the_set_that_is_nearest_is_named() -> None:
    assert nearest(10_000, 10, 32).source == "cifar10"
    assert "tiny-imagenet with 20,000 of 200 classes at 32 px" in nearest(20_000, 150, 32).sentence()


def test_the_table_is_what_the_records_say() -> None:
    from bench.curves import table

    assert TABLE.read_text(encoding="utf-8") == table(), "run: python -m bench.curves --write"

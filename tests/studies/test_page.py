"""What a study says first: ours beside what was published for the same pictures, and for no others."""

from __future__ import annotations

from typing import Any

import pytest

from lightmeter.studies.page import _before, _leaks, _stops, headline
from lightmeter.studies.results import Point, knee


def arm(
    name: str,
    role: str,
    source: str,
    low: float,
    high: float,
    published: float | None = None,
    classes: list[str] | None = None,
    start: str = "",
) -> dict[str, Any]:
    return {
        "start": start,
        "name": name,
        "role": role,
        "published": published,
        "pictures": {"source": source, "classes": classes or [], "test_share": 0.0},
        "accuracy": {"mean": (low + high) / 2, "low": low, "high": high},
        "val": (low + high) / 2,
        "n": {"test": 1000},
    }


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.2, 0.3, "more than the"), (0.1, 0.15, "less than the"), (0.15, 0.25, "not distinguishable from the")],
)
def test_ours_is_held_against_what_was_published_for_the_same_pictures(low: float, high: float, says: str) -> None:
    arms = [
        arm("base", "faithful", "cifar10", 0.7, 0.8, published=0.84),
        arm("faithful", "faithful", "tiny-imagenet", 0.1, 0.2, published=0.18),
        arm("ours", "ours", "tiny-imagenet", low, high),
    ]
    first, rest = headline({"scale": "cpu", "arms": arms, "against": []})
    assert first.startswith("ours names")
    assert f"{says} published 18.0" in rest


def test_at_the_scale_of_tests_no_figure_is_held_against_another() -> None:
    arms = [arm("ours", "ours", "digits", 0.9, 0.95, published=0.5)]
    _, rest = headline({"scale": "smoke", "arms": arms, "against": []})
    assert "published" not in rest
    assert "means nothing at this scale" in rest


def test_without_a_figure_for_those_pictures_nothing_is_claimed() -> None:
    arms = [arm("base", "faithful", "cifar10", 0.7, 0.8, published=0.84), arm("ours", "ours", "digits", 0.9, 0.95)]
    assert "published" not in headline({"scale": "cpu", "arms": arms, "against": []})[1]
    assert headline({"scale": "cpu", "arms": [], "against": []})[0] == "No arm of this study finished."


def test_arms_with_classes_of_their_own_are_not_chosen_among() -> None:
    arms = [
        arm("far", "ours", "tiny-imagenet", 0.97, 0.99, classes=["bus", "fish"]),
        arm("near", "ours", "tiny-imagenet", 0.83, 0.87, classes=["cat", "other cat"]),
    ]
    first, rest = headline({"scale": "cpu", "arms": arms, "against": []})
    assert "85.0" in first and "98.0" in first
    assert rest == "(near to far)."


def test_without_an_arm_of_ours_those_are_told_that_no_other_starts_from() -> None:
    arms = [
        arm("base", "faithful", "cifar10", 0.7, 0.8, published=0.84),
        arm("less", "faithful", "tiny-imagenet", 0.14, 0.16, published=0.18, start="arm:base"),
        arm("more", "faithful", "tiny-imagenet", 0.15, 0.17, published=0.195, start="arm:base"),
    ]
    first, rest = headline({"scale": "cpu", "arms": arms, "against": []})
    assert first.startswith("more, best by validation, names 16.0")
    assert "published 19.5" in rest


def test_the_time_of_start_weights_is_told() -> None:
    base = {"name": "base", "start": "", "cost": {"seconds": 200.0}}
    middle = {"name": "middle", "start": "arm:base", "cost": {"seconds": 3.0}}
    last = {"name": "last", "start": "arm:middle", "cost": {"seconds": 4.0}}
    said = _before(last, [base, middle, last])
    assert said.index("for middle") < said.index("for base")
    assert _before(base, [base, middle, last]) == ""


def test_twins_that_we_drew_apart_are_not_blamed_on_the_publisher() -> None:
    drawn, published = ({"n": {"leaks": 7}, "pictures": {"test_share": share}} for share in (0.3, 0.0))
    assert _leaks([published]) == "7 test pictures also stand in training, as the data set was published."
    assert _leaks([drawn]) == "7 test pictures also stand in training."


def test_a_curve_that_ends_before_more_stops_paying_is_not_said_to_have_stopped() -> None:
    points = [
        Point(name, cost, accuracy) for name, cost, accuracy in (("a", 1.0, 0.5), ("b", 2.0, 0.7), ("c", 9.0, 0.9))
    ]
    rising = knee(points, [["", "better", "better"]] * 3)
    assert _stops("More", rising) == "Every step still paid, up to c, where the curve ends."
    flat = knee(points, [["", "better", "better"], ["", "", "tie"], ["", "", ""]])
    assert _stops("More", flat) == "More stops paying at b: nothing beyond b is distinguishably better."
    assert _stops("More epochs", flat).startswith("More epochs stop paying at b: ")

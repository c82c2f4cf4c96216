"""Each rule on names of its scheme; what judgements add up to; what is kept of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightmeter.nouns.provenance import IMAGENET, RULES, VERDICTS, Contamination, Verdict, by_name, gravest
from lightmeter.sources import SOURCES


@pytest.mark.parametrize(
    ("source", "name", "id", "verdict"),
    [
        ("imagenette", "imagenette", "val/n01440764/n01440764_10021.JPEG", "contaminated"),
        ("imagenette", "imagenette", "val/n01440764/ILSVRC2012_val_00009111.JPEG", "clean"),
        ("folder", "photos", "n01440764_10021.jpg", "contaminated"),
        ("folder", "photos", "tench/n01440764_10021.webp", "contaminated"),
        ("folder", "photos", "tench/ILSVRC2012_val_00009111.png", "clean"),
        ("table", "photos", "images/ILSVRC2012_test_00000001.JPEG", "clean"),
        ("folder", "photos", "tench/holiday_n01440764_10021.jpg", "unknown"),
        ("folder", "photos", "n01440764/IMG_0001.jpg", "unknown"),
        ("folder", "photos", "n0144_10021.jpg", "unknown"),
        ("folder", "photos", "a/n01440764_10021/1.jpg", "unknown"),
        ("tiny_imagenet", "tiny-imagenet", "train/n01443537/images/n01443537_0.JPEG", "contaminated"),
        ("tiny_imagenet", "tiny-imagenet", "val/images/val_0.JPEG", "unknown"),
        ("cifar", "cifar10", "test/00017", "unknown"),
        ("digits", "digits", "00017", "clean"),
        ("idx", "fashion-mnist", "test/00017", "clean"),
        ("idx", "mnist", "test/00017", "unknown"),
    ],
)
def test_what_a_name_says_of_imagenets_training_pictures(source: str, name: str, id: str, verdict: str) -> None:
    assert source in SOURCES
    [(found, why)] = by_name(IMAGENET, source, name, [id])
    assert found == verdict
    assert len(why) > 10


def test_the_last_rule_of_each_set_holds_for_every_picture() -> None:
    for rules in RULES.values():
        assert rules[-1].holds("anything", "at all", "") and rules[-1].verdict == "unknown"
        assert all(not rule.source or rule.source in SOURCES for rule in rules)


def test_of_another_training_set_nothing_is_known() -> None:
    [(verdict, why)] = by_name("laion-5b", "folder", "photos", ["n01440764_10021.JPEG"])
    assert verdict == "unknown" and "laion-5b" in why


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("clean", "clean"), "clean"),
        (("clean", "unknown"), "unknown"),
        (("unknown", "contaminated"), "contaminated"),
        (("contaminated", "clean"), "contaminated"),
    ],
)
def test_seen_by_one_is_seen_and_clean_is_clean_for_all(given: tuple[Verdict, ...], expected: str) -> None:
    assert gravest([(verdict, verdict) for verdict in given]) == (expected, expected)


def example() -> Contamination:
    verdicts: tuple[Verdict, ...] = ("clean", "contaminated", "clean", "contaminated", "contaminated")
    whys = ("new", "copy", "new", "named so", "copy")
    return Contamination(("a", "b", "c", "d", "e"), verdicts, whys, (IMAGENET,), (("b", "x"),))


def test_the_figures_are_those_of_each_kind_whatever_the_order() -> None:
    found = example().summary(["e", "d", "c", "b", "a"], np.array([True, False, True, True, False]))
    assert {kind: found[kind]["n"] for kind in VERDICTS} == {"clean": 2, "contaminated": 3, "unknown": 0}
    assert found["clean"]["accuracy"] == 0.5 and found["contaminated"]["accuracy"] == pytest.approx(2 / 3)
    assert found["clean"]["low"] < 0.5 < found["clean"]["high"]
    assert found["unknown"] == {"n": 0, "accuracy": None, "low": None, "high": None}
    assert list(found["why"].items()) == [("new", 2), ("copy", 2), ("named so", 1)]
    json.dumps(found, allow_nan=False)


def test_it_is_kept_whole() -> None:
    again = Contamination.parse(json.loads(json.dumps(example().document())))
    known = dict(zip(again.ids, zip(again.verdicts, again.whys, strict=True), strict=True))
    assert known == dict(zip(example().ids, zip(example().verdicts, example().whys, strict=True), strict=True))
    assert again.seen == example().seen and again.pairs == example().pairs
    assert Contamination.parse(Contamination((), (), (), ()).document()).ids == ()

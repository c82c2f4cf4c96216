from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from lightmeter.errors import DataError
from lightmeter.nouns.dataset import Bad, Dataset, Provenance
from lightmeter.verbs.check import check


def make(labels: list[int], *, hashes: list[str] | None = None, splits: list[str] | None = None) -> Dataset:
    n = len(labels)
    return Dataset(
        name="photos",
        classes=("cat", "dog", "bird")[: max(labels, default=0) + 1],
        ids=tuple(f"{row}.png" for row in range(n)),
        hashes=tuple(hashes or [f"h{row}" for row in range(n)]),
        labels=np.array(labels, np.int64),
        splits=tuple(splits or [""] * n),
        groups=("",) * n,
        read=str.encode,
        provenance=Provenance("folder", "own", ("1 file left out",)),
    )


def test_a_clean_data_set_has_no_warnings() -> None:
    result = check(make([0, 1] * 25))
    assert result.warnings == ()
    assert (result.n, result.counts, result.parts) == (50, (25, 25), {})
    assert result.notes == ("1 file left out",)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "has no class with pictures"),
        ([0, 0, 0], "the one class 'cat' with pictures"),
        ([0, 0, 1], r"the class 'dog' has a single image(.|\n)*add images, or remove the class"),
        ([0, 1], "the classes 'cat', 'dog' have a single image"),
        ([0, 0, 2, 2], "the class 'dog' has no image"),
    ],
)
def test_what_cannot_be_learnt_is_refused(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(make(labels))


def test_a_class_that_train_lacks_is_named() -> None:
    with pytest.raises(DataError, match="the train part has no image of 'dog'"):
        check(make([0, 0, 1, 1], splits=["train", "train", "test", "test"]))
    with pytest.raises(DataError, match="has no train part, only test and val"):
        check(make([0, 0, 1, 1], splits=["val", "val", "test", "test"]))


def test_copies_and_conflicts_are_told_apart() -> None:
    hashes = ["a", "b", "a", "b", "c", "c"]
    result = check(make([0, 0, 0, 1, 1, 1], hashes=hashes))
    assert result.duplicates == (("0.png", "2.png"), ("4.png", "5.png"))
    assert result.conflicts == (("1.png", "3.png"),)
    assert "1 picture stands under more than one label, such as 1.png (cat), 3.png (dog)." in result.warnings
    assert any(
        "2 pictures repeat another of the same class, such as 2.png and 0.png" in text for text in result.warnings
    )


@pytest.mark.parametrize("pair", [("train", "test"), ("train", "val"), ("val", "test")])
def test_pictures_in_two_parts_are_warned_of(pair: tuple[str, str]) -> None:
    parts = ["train", "val", "test"] * 20
    dataset = make([row // 3 % 2 for row in range(60)], splits=parts)
    hashes = list(dataset.hashes)
    hashes[parts.index(pair[1])] = hashes[parts.index(pair[0])]
    result = check(make(dataset.labels.tolist(), splits=parts, hashes=hashes))
    assert any(f"1 picture stands in both {pair[0]} and {pair[1]}" in text for text in result.warnings)
    assert result.parts == {"train": 20, "val": 20, "test": 20}


def test_uneven_and_tiny_classes_are_warned_of() -> None:
    result = check(make([0] * 300 + [1] * 5))
    assert any("'cat' has 300 images, 'dog' 5" in text for text in result.warnings)
    assert any("Fewer than 20 images in 'dog' (5)" in text for text in result.warnings)


def test_a_pack_adds_bad_files_and_pictures_that_look_alike() -> None:
    dataset = make([0, 0, 0, 1, 1, 1])
    pack = SimpleNamespace(
        ids=("0.png", "1.png", "3.png", "4.png", "5.png"),
        pixel_hashes=np.array([7, 8, 9, 9, 7], np.uint64),
        bad=(Bad("2.png", "cut short"),),
    )
    result = check(dataset, pack)  # type: ignore[arg-type]
    assert result.compared == "pixels"
    assert result.n == 5
    assert result.bad == (Bad("2.png", "cut short"),)
    assert result.warnings[0] == "1 file cannot be used, such as 2.png: cut short."
    assert result.duplicates == (("3.png", "4.png"),)
    assert result.conflicts == (("0.png", "5.png"),)


def test_the_document_is_plain_json() -> None:
    document = check(make([0, 1] * 2)).document()
    assert json.loads(json.dumps(document))["classes"] == ["cat", "dog"]

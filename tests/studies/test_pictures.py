"""Which pictures a study takes: by hash, evenly, the same for every arm, and never a test picture to learn from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmeter.errors import DataError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.studies.base import Pictures
from lightmeter.studies.pictures import Materials, chosen
from tests.studies.toy import DIGITS


def made(parts: dict[str, int], classes: int = 4) -> Dataset:
    """A Dataset of so many items of each class in each part, with nothing behind them."""
    rows = [
        (f"{part}/{label}/{number}", label, part)
        for part, n in parts.items()
        for label in range(classes)
        for number in range(n)
    ]
    return Dataset(
        name="made",
        classes=tuple(f"class {label}" for label in range(classes)),
        ids=tuple(id for id, _, _ in rows),
        hashes=tuple(f"{row:064x}" for row in range(len(rows))),
        labels=np.array([label for _, label, _ in rows], np.int64),
        splits=tuple(part for _, _, part in rows),
        groups=("",) * len(rows),
        read=str.encode,
        provenance=Provenance("made", "unverified"),
    )


ALL = Pictures("made", 8)


def counts(dataset: Dataset) -> Counter[tuple[str, int]]:
    return Counter(zip(dataset.splits, dataset.labels.tolist(), strict=True))


class TestChosen:
    def test_everything_is_the_source_itself(self) -> None:
        dataset = made({"train": 5, "test": 2})
        assert chosen(dataset, ALL).fingerprint == dataset.fingerprint

    def test_limits_are_kept_and_even(self) -> None:
        found = chosen(made({"train": 50, "test": 20}), replace(ALL, train_limit=42, test_limit=8))
        found_counts = counts(found)
        assert [found_counts["train", label] for label in range(4)] == [11, 11, 10, 10]
        assert [found_counts["test", label] for label in range(4)] == [2, 2, 2, 2]

    def test_a_larger_choice_holds_the_smaller(self) -> None:
        dataset = made({"train": 50, "test": 20})
        small = set(chosen(dataset, replace(ALL, train_limit=40)).ids)
        assert small < set(chosen(dataset, replace(ALL, train_limit=80)).ids)

    def test_a_small_class_leaves_its_share_to_the_others(self) -> None:
        dataset = made({"train": 10})
        few = dataset.select(id for id in dataset.ids if not (id.startswith("train/3/") and id[-1] not in "12"))
        few = replace(few, splits=("test", *few.splits[1:]))
        found = chosen(few, replace(ALL, train_limit=20))
        assert sum(part == "train" for part in found.splits) == 20
        assert counts(found)["train", 3] == 2

    def test_a_share_of_train_becomes_the_test_part(self) -> None:
        dataset = made({"train": 20, "val": 5})
        found = chosen(dataset, replace(ALL, test_share=0.3))
        assert set(found.splits) == {"train", "test"}
        assert all(counts(found)["test", label] == 6 for label in range(4))
        assert not any(id.startswith("val/") for id in found.ids)

    def test_what_is_tested_on_does_not_depend_on_how_much_is_learned_from(self) -> None:
        """more-data trains on less and on more of the same, and tests on the same."""
        dataset = made({"train": 50})
        less, more = (chosen(dataset, replace(ALL, test_share=0.2, train_limit=limit)) for limit in (40, 0))
        tests = [{id for id, part in zip(d.ids, d.splits, strict=True) if part == "test"} for d in (less, more)]
        assert tests[0] == tests[1]

    def test_classes_are_kept_in_the_order_given(self) -> None:
        found = chosen(made({"train": 5, "test": 2}), replace(ALL, classes=("class 2", "class 0")))
        assert found.classes == ("class 2", "class 0")
        assert {id.split("/")[1] for id, label in zip(found.ids, found.labels.tolist(), strict=True) if label == 0} == {
            "2"
        }

    def test_an_unknown_class_is_named(self) -> None:
        with pytest.raises(DataError, match="no class 'goldfish'"):
            chosen(made({"train": 5}), replace(ALL, classes=("goldfish", "class 1")))


class TestMaterials:
    def test_limits_hold_where_the_test_part_is_drawn(self) -> None:
        data, split = Materials().data(DIGITS, 0)
        assert (len(split.train) + len(split.val), len(split.test)) == (300, 120)
        assert len(data.train_rows) == len(split.train)
        labels = Counter(data.pack.labels[data.pack.rows(split.test)].tolist())
        assert set(labels.values()) == {12}

    def test_a_test_part_that_we_drew_has_no_twin_in_training(self, tmp_path: Path) -> None:
        for label in range(2):
            for number in range(20):
                twin = number % 10 if label == 0 else number  # of the first class every picture is there twice
                shade = np.full((8, 8), 12 * twin + 5 * label, np.uint8)
                place = tmp_path / f"class {label}" / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(shade).save(place)
        data, split = Materials().data(Pictures(str(tmp_path), 8, channels=1, test_share=0.5), 0)
        pixels = data.pack.pixels
        test = {pixels[row].tobytes() for row in data.pack.rows(split.test)}
        assert not split.leaks
        assert len(split.train) > 5
        assert test.isdisjoint(pixels[row].tobytes() for row in data.pack.rows((*split.train, *split.val)))

    def test_the_same_pictures_are_opened_packed_and_split_once(self) -> None:
        materials = Materials()
        first, again = materials.data(DIGITS, 0), materials.data(replace(DIGITS), 0)
        assert first[0] is again[0]
        other = materials.data(DIGITS, 1)
        assert other[0].pack is first[0].pack
        assert other[1].test != first[1].test

    def test_another_process_would_choose_the_same(self) -> None:
        _, split = Materials().data(DIGITS, 0)
        assert split == Materials().data(DIGITS, 0)[1]

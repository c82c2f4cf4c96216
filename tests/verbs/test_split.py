"""Invariants of a split: disjoint, whole, clusters together, the same for the same data in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import DataError, LeakError
from lightmeter.nouns.dataset import Bad, Dataset, Provenance
from lightmeter.nouns.split import Split
from lightmeter.verbs.split import sizes, split


def make(
    labels: list[int],
    *,
    hashes: list[str] | None = None,
    groups: list[str] | None = None,
    splits: list[str] | None = None,
    official: str = "own",
) -> Dataset:
    n = len(labels)
    return Dataset(
        name="toy",
        classes=tuple(f"class {label}" for label in range(max(labels) + 1)),
        ids=tuple(f"{row:04d}.png" for row in range(n)),
        hashes=tuple(hashes or [f"h{row}" for row in range(n)]),
        labels=np.array(labels, np.int64),
        splits=tuple(splits or [""] * n),
        groups=tuple(groups or [""] * n),
        read=str.encode,
        provenance=Provenance("folder", official),  # type: ignore[arg-type]
    )


def classes_of(dataset: Dataset, ids: tuple[str, ...]) -> Counter[int]:
    return Counter(int(dataset.labels[dataset.row[id]]) for id in ids)


def clusters_of(dataset: Dataset) -> list[set[str]]:
    """Ids that share a picture or a group, in a chain: merged until nothing changes."""
    found: list[set[str]] = [{id} for id in dataset.ids]
    for marks in (dataset.hashes, dataset.groups):
        for mark in set(marks) - {""}:
            members = {id for id, own in zip(dataset.ids, marks, strict=True) if own == mark}
            touched = [cluster for cluster in found if cluster & members]
            found = [cluster for cluster in found if not cluster & members] + [set().union(*touched)]
    return found


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    """Three or more different pictures per class, and on top copies (also under other labels) and groups."""
    num_classes = draw(st.integers(2, 4))
    labels = [label for label in range(num_classes) for _ in range(draw(st.integers(4, 25)))]
    hashes = [f"h{row}" for row in range(len(labels))]
    groups = [""] * len(labels)
    for _ in range(draw(st.integers(0, 12))):
        labels.append(draw(st.integers(0, num_classes - 1)))
        hashes.append(hashes[draw(st.integers(0, len(hashes) - 1))])
        groups.append(draw(st.sampled_from(["", "", "g1", "g2"])))
    return make(labels, hashes=hashes, groups=groups)


@settings(deadline=None, max_examples=150)
@given(datasets(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_drawn_split_keeps_its_promises(dataset: Dataset, seed: int, random: object) -> None:
    result = split(dataset, dataset.hashes, seed=seed)
    parts = {"train": result.train, "val": result.val, "test": result.test}

    # disjoint and whole
    assert sorted(result.train + result.val + result.test) == sorted(dataset.ids)
    # clusters never straddle: the slow obvious twin of the union-find
    part_of = {id: part for part, ids in parts.items() for id in ids}
    for marks in (dataset.hashes, dataset.groups):
        for mark in set(marks) - {""}:
            members = {part_of[id] for id, own in zip(dataset.ids, marks, strict=True) if own == mark}
            assert len(members) == 1
    # the order of the items does not matter
    order = list(dataset.ids)
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = dataset.select(order)
    again = split(shuffled, shuffled.hashes, seed=seed)
    assert (again.train, again.val, again.test) == (result.train, result.val, result.test)
    # each class is learnt, and one of three clusters or more is chosen by and tested on, too
    clusters = clusters_of(dataset)
    for label in range(len(dataset.classes)):
        several = sum(any(dataset.labels[dataset.row[id]] == label for id in ids) for ids in clusters) >= 3
        there = [part for part, ids in parts.items() if classes_of(dataset, ids)[label]]
        assert there == ["train", "val", "test"] or (not several and "train" in there)


@pytest.mark.parametrize("big", [2, 8, 18])
def test_of_three_clusters_each_part_gets_one_however_large_the_first_is(big: int) -> None:
    groups = ["g"] * big + [""] * 12
    dataset = make([0] * (big + 2) + [1] * 10, groups=groups)
    result = split(dataset, dataset.hashes)
    for ids in (result.train, result.val, result.test):
        assert set(classes_of(dataset, ids)) == {0, 1}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(5, 200), min_size=2, max_size=6), st.integers(0, 5))
def test_without_copies_each_class_has_its_exact_share(sizes: list[int], seed: int) -> None:
    dataset = make([label for label, size in enumerate(sizes) for _ in range(size)])
    result = split(dataset, dataset.hashes, seed=seed)
    for label, size in enumerate(sizes):
        test = size // 5
        assert classes_of(dataset, result.test)[label] == test
        assert classes_of(dataset, result.val)[label] == max(1, (size - test) // 10)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 8), min_size=40, max_size=80), st.integers(0, 3))
def test_with_groups_the_share_is_missed_by_less_than_a_group(sizes: list[int], seed: int) -> None:
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    labels = [number % 2 for number, size in enumerate(sizes) for _ in range(size)]
    dataset = make(labels, groups=groups)
    result = split(dataset, dataset.hashes, seed=seed)
    for label in (0, 1):
        wanted = labels.count(label) / 5
        assert abs(classes_of(dataset, result.test)[label] - wanted) <= 8


@pytest.mark.parametrize("seed", range(6))
def test_a_group_that_is_larger_than_the_part_stays_in_train(seed: int) -> None:
    dataset = make([0] * 100 + [1] * 50, groups=["burst"] * 60 + [""] * 90)
    result = split(dataset, dataset.hashes, seed=seed)
    assert classes_of(dataset, result.test) == {0: 20, 1: 10}
    assert classes_of(dataset, result.val) == {0: 8, 1: 4}


def test_what_serves_one_class_never_empties_another() -> None:
    """Two pictures that stand under both labels are all there is of class 1."""
    dataset = make([0] * 30 + [0, 1, 0, 1], hashes=[f"h{row}" for row in range(30)] + ["x", "x", "y", "y"])
    for seed in range(60):
        result = split(dataset, dataset.hashes, seed=seed)
        assert [classes_of(dataset, ids)[1] for ids in (result.train, result.val, result.test)] == [1, 0, 1]


def test_another_seed_draws_another_split_and_the_same_seed_the_same() -> None:
    dataset = make([0, 1] * 50)
    assert split(dataset, dataset.hashes, seed=1).test != split(dataset, dataset.hashes, seed=2).test
    assert split(dataset, dataset.hashes, seed=1) == split(dataset, dataset.hashes, seed=1)


def test_the_draw_is_fixed_for_all_time() -> None:
    """A library or a Python version cannot change it: these ids are by sha256 of "0\\x1f<id>"."""
    assert split(make([0, 1] * 10), range(20)).test == ("0000.png", "0005.png", "0009.png", "0010.png")


def test_one_more_picture_moves_few_others() -> None:
    labels = [0, 1] * 200
    before, after = make(labels), make([*labels, 0])
    first, second = split(before, before.hashes), split(after, after.hashes)
    assert len(set(first.test) ^ set(second.test)) <= 2
    assert len(set(first.val) ^ set(second.val)) <= 4


def test_val_is_capped() -> None:
    dataset = make([row % 2 for row in range(40_000)])
    result = split(dataset, dataset.hashes)
    assert (len(result.test), len(result.val)) == (8000, 2500)


@pytest.mark.parametrize(
    ("given_parts", "origin"),
    [
        (("train", "test"), {"train": "drawn", "val": "drawn", "test": "source"}),
        (("train", "val"), {"train": "drawn", "val": "drawn", "test": "source"}),
        (("train", "val", "test"), {"train": "source", "val": "source", "test": "source"}),
        (("", "test"), {"train": "drawn", "val": "drawn", "test": "source"}),
        (("train",), {"train": "drawn", "val": "drawn", "test": "drawn"}),
    ],
)
def test_parts_of_the_source_are_respected(given_parts: tuple[str, ...], origin: dict[str, str]) -> None:
    splits = [given_parts[row // 2 % len(given_parts)] for row in range(60)]
    dataset = make([row % 2 for row in range(60)], splits=splits)
    result = split(dataset, dataset.hashes)
    assert result.origin == origin
    held_out = "test" if "test" in given_parts else "val"
    official = tuple(id for id, part in zip(dataset.ids, splits, strict=True) if part == held_out)
    if origin["test"] == "source":
        assert result.test == official
    if origin["val"] == "source":
        assert result.val == tuple(id for id, part in zip(dataset.ids, splits, strict=True) if part == "val")
    assert len(result.train + result.val + result.test) == 60


def leaky(official: str) -> Dataset:
    hashes = [f"h{row}" for row in range(40)]
    hashes[39] = hashes[0]  # row 0 is in train, row 39 in test
    return make([0, 1] * 20, hashes=hashes, splits=["train"] * 30 + ["test"] * 10, official=official)


def test_a_leaky_split_of_the_user_is_refused_with_the_list() -> None:
    dataset = leaky("own")
    with pytest.raises(LeakError, match=r"1 pictures.*\n  0039\.png = 0000\.png\n(.|\n)*--allow-leak"):
        split(dataset, dataset.hashes)


def test_an_allowed_leak_is_recorded_and_persisted(tmp_path: Path) -> None:
    dataset = leaky("own")
    result = split(dataset, dataset.hashes, allow_leak=True)
    assert result.leaks == (("0039.png", "0000.png"),)
    assert "0039.png" in result.test
    result.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == result


def test_a_leak_of_a_published_set_is_recorded() -> None:
    dataset = leaky("unverified")
    assert split(dataset, dataset.hashes).leaks == (("0039.png", "0000.png"),)


def test_a_group_in_train_and_test_leaks_too() -> None:
    groups = [""] * 40
    groups[5] = groups[35] = "patient 7"
    dataset = make([0, 1] * 20, groups=groups, splits=["train"] * 30 + ["test"] * 10)
    with pytest.raises(LeakError, match=r"0035\.png = 0005\.png"):
        split(dataset, dataset.hashes)


def test_pixel_hashes_decide_not_bytes() -> None:
    dataset = make([0, 1] * 20, splits=["train"] * 30 + ["test"] * 10)
    pixels = np.arange(40, dtype=np.uint64)
    pixels[39] = 0
    with pytest.raises(LeakError):
        split(dataset, pixels)


def test_two_labels_of_one_picture_stay_together() -> None:
    dataset = make([0, 1] * 20, hashes=[f"h{row // 2}" for row in range(40)])
    result = split(dataset, dataset.hashes)
    assert result.clusters == 20
    for ids in (result.train, result.val, result.test):
        assert {f"{int(id[:4]) ^ 1:04d}.png" for id in ids} == set(ids)


def test_a_class_of_two_is_learnt_and_tested_a_class_of_three_also_chosen_by() -> None:
    dataset = make([0] * 30 + [1] * 2 + [2] * 3)
    result = split(dataset, dataset.hashes)
    assert [classes_of(dataset, ids)[1] for ids in (result.train, result.val, result.test)] == [1, 0, 1]
    assert [classes_of(dataset, ids)[2] for ids in (result.train, result.val, result.test)] == [1, 1, 1]


def test_too_few_pictures_for_three_parts_is_said() -> None:
    dataset = make([0, 0, 1, 1])
    with pytest.raises(DataError, match=r"none is left for val(.|\n)*add pictures"):
        split(dataset, dataset.hashes)
    one = make([0, 1] * 20, groups=["same"] * 40)
    with pytest.raises(DataError, match="none is left"):
        split(one, one.hashes)


def test_bad_items_are_no_part_of_it() -> None:
    whole = make([0, 1] * 20)
    dataset = whole.without([Bad("0003.png", "cut short")])
    result = split(dataset, dataset.hashes)
    assert "0003.png" not in result.train + result.val + result.test
    assert result.fingerprint == dataset.fingerprint != replace(whole).fingerprint


@pytest.mark.parametrize(
    "given", [[""], ["train", "train", "test"], ["train", "train", "val"], ["train", "val", "test"]]
)
def test_the_sizes_told_before_decoding_are_those_of_the_split(given: list[str]) -> None:
    dataset = make([0, 1] * 300, splits=(given * 600)[:600])
    found = split(dataset, list(dataset.hashes))
    assert sizes(dataset.splits, 2) == (len(found.train), len(found.val), len(found.test))


def test_the_sizes_told_before_decoding_know_the_most_that_is_validated_on() -> None:
    assert sizes(["train"] * 50_000 + ["test"] * 10_000, 10) == (47_500, 2_500, 10_000)

"""A Dataset to a Check: what is in it, what should be known about it, and what makes it unusable."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.errors import DataError
from lightmeter.nouns.dataset import SPLIT_NAMES, Bad, Dataset
from lightmeter.verbs.detail import differences

if TYPE_CHECKING:
    from lightmeter.nouns.pack import Pack

IMBALANCE = 10
"""How many times larger than the smallest class the largest may be without a warning."""

TINY = 20
"""Below so many images, the numbers of a class say little."""


@dataclass(frozen=True)
class Check:
    """What is in a Dataset, as plain values.

    Attributes:
        name, n, classes: of the Dataset.
        counts: images per class.
        parts: images per part that the source names; empty where it names none.
        official, notes: its provenance.
        compared: "bytes", or "pixels" where a Pack was given.
        duplicates: clusters of ids that show one picture under one label.
        conflicts: clusters of ids that show one picture under several labels.
        bad: what cannot be used.
        warnings: sentences for the user, the weightiest first.
    """

    name: str
    n: int
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    parts: dict[str, int]
    official: str
    notes: tuple[str, ...]
    compared: str
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    bad: tuple[Bad, ...]
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The check as plain JSON values."""
        return asdict(self)


def check(dataset: Dataset, pack: Pack | None = None) -> Check:
    """Look at a Dataset: by its bytes, or by its pixels where they are packed.

    Args:
        pack: of this Dataset (or of it with its bad items); adds undecodable files, and finds pictures that are
            the same although their files differ.

    Raises:
        DataError: fewer than two classes, a class with one image, or a class that the source's train part lacks.
    """
    hashes: Sequence[Hashable] = dataset.hashes
    if pack is not None:
        dataset = dataset.without(bad for bad in pack.bad if bad.id in dataset.row)
        found = dict(zip(pack.ids, np.asarray(pack.pixel_hashes).tolist(), strict=True))
        hashes = [found[id] for id in dataset.ids]
    _refuse(dataset)
    clusters = _clusters(dataset, hashes)
    several = [len({int(dataset.labels[row]) for row in rows}) > 1 for rows in clusters]
    conflicts = [rows for rows, conflict in zip(clusters, several, strict=True) if conflict]
    duplicates = [rows for rows, conflict in zip(clusters, several, strict=True) if not conflict]
    parts = Counter(part for part in dataset.splits if part)
    return Check(
        name=dataset.name,
        n=len(dataset),
        classes=dataset.classes,
        counts=tuple(dataset.counts().tolist()),
        parts={part: parts[part] for part in SPLIT_NAMES if parts[part]},
        official=dataset.provenance.official,
        notes=dataset.provenance.notes,
        compared="bytes" if pack is None else "pixels",
        duplicates=_named(dataset, duplicates),
        conflicts=_named(dataset, conflicts),
        bad=dataset.bad,
        warnings=(*_warnings(dataset, clusters, duplicates, conflicts), *_resized_otherwise(dataset, pack)),
    )


def _refuse(dataset: Dataset) -> None:
    counts = dataset.counts()
    present = [name for name, count in zip(dataset.classes, counts, strict=True) if count]
    if len(present) < 2:
        found = f"the one class {present[0]!r}" if present else "no class"
        raise DataError(
            f"{dataset.name} has {found} with pictures.",
            "at least two classes",
            "add a folder (or label) of pictures that are not of this class.",
        )
    empty = [name for name, count in zip(dataset.classes, counts, strict=True) if not count]
    single = [name for name, count in zip(dataset.classes, counts, strict=True) if count == 1]
    for names, amount in ((empty, "no image"), (single, "a single image")):
        if names:
            one = len(names) == 1
            raise DataError(
                f"In {dataset.name}, {'the class' if one else 'the classes'} {_listing(map(repr, names))} "
                f"{'has' if one else 'have'} {amount}.",
                "at least two images per class, one to learn from and one to test on",
                "add images, or remove the class.",
            )
    if any(dataset.splits):
        learnt = {
            int(label) for label, part in zip(dataset.labels, dataset.splits, strict=True) if part in ("train", "")
        }
        unseen = [name for label, name in enumerate(dataset.classes) if label not in learnt]
        if not learnt:
            raise DataError(
                f"{dataset.name} has no train part, only {' and '.join(sorted(set(dataset.splits)))}.",
                "pictures to learn from",
                "add a train part, or give the pictures without parts.",
            )
        if unseen:
            raise DataError(
                f"In {dataset.name}, the train part has no image of {_listing(map(repr, unseen))}.",
                "each class in train",
                "move images of it into train, or remove the class everywhere.",
            )


def _clusters(dataset: Dataset, hashes: Sequence[Hashable]) -> list[list[int]]:
    """Rows that share a hash, for each hash that several share."""
    rows_of: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, value in enumerate(hashes):
        rows_of[value].append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def _named(dataset: Dataset, clusters: list[list[int]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(dataset.ids[row] for row in rows) for rows in clusters)


def _warnings(
    dataset: Dataset, clusters: list[list[int]], duplicates: list[list[int]], conflicts: list[list[int]]
) -> Iterable[str]:
    if dataset.bad:
        first_bad = dataset.bad[0]
        yield f"{_number(len(dataset.bad), 'file')} cannot be used, such as {first_bad.id}: {first_bad.reason}."
    if conflicts:
        rows = conflicts[0]
        shown = _listing((f"{dataset.ids[row]} ({dataset.classes[dataset.labels[row]]})" for row in rows), 3)
        yield f"{_number(len(conflicts), 'picture', 'stand')} under more than one label, such as {shown}."
    for first, second, meaning in (
        ("train", "test", "its score is too good by these"),
        ("train", "val", "what is chosen by it is chosen in part from memory"),
        ("val", "test", "the choice of a model has seen these"),
    ):
        shared = sum({first, second} <= {dataset.splits[row] for row in rows} for rows in clusters)
        if shared:
            yield f"{_number(shared, 'picture', 'stand')} in both {first} and {second}: {meaning}."
    if duplicates:
        extra = sum(len(rows) - 1 for rows in duplicates)
        rows = duplicates[0]
        yield (
            f"{_number(extra, 'picture', 'repeat')} another of the same class, such as {dataset.ids[rows[1]]} and "
            f"{dataset.ids[rows[0]]}; copies always stay in one part of a drawn split."
        )
    counts = dataset.counts()
    small, large = int(counts.argmin()), int(counts.argmax())
    if counts[large] > IMBALANCE * counts[small]:
        yield (
            f"The classes are uneven: {dataset.classes[large]!r} has {counts[large]} images, "
            f"{dataset.classes[small]!r} {counts[small]}. Look at macro F1, not at accuracy alone."
        )
    tiny = [f"{name!r} ({count})" for name, count in zip(dataset.classes, counts, strict=True) if count < TINY]
    if tiny:
        yield f"Fewer than {TINY} images in {_listing(tiny)}: what is measured on so few is uncertain."


def _resized_otherwise(dataset: Dataset, pack: Pack | None) -> Iterable[str]:
    if pack is None:
        return
    part = dict(zip(dataset.ids, dataset.splits, strict=True))
    for name, factor in differences(pack, [part[id] for id in pack.ids]):
        yield (
            f"The {name} pictures have {factor:.1f} times the fine detail of the train pictures: another program "
            "shrunk them. What learns from one kind loses much on the other; train with "
            "--set augment+=sharpness, which shows it pictures of every sharpness."
        )


def _listing(texts: Iterable[str], most: int = 10) -> str:
    texts = list(texts)
    shown = ", ".join(texts[:most])
    return shown if len(texts) <= most else f"{shown} and {len(texts) - most} more"


def _number(count: int, noun: str, verb: str = "") -> str:
    """A count with its noun and, where given, its verb, in the right number."""
    words = (f"1 {noun}", f"{verb}s" if verb else "") if count == 1 else (f"{count} {noun}s", verb)
    return " ".join(words).rstrip()

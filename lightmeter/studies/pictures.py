"""Pictures -> the data that arms learn from: opened, chosen, decoded and split once, and shared by all arms."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightmeter.errors import DataError, UsageError
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.split import Split
from lightmeter.sources import OnBad, open_source
from lightmeter.studies.base import Pictures
from lightmeter.verbs.data import Data
from lightmeter.verbs.pack import pack
from lightmeter.verbs.split import split


class Materials:
    """What arms share. Each source is opened once, each choice of pictures decoded once, and split once a seed.

    Choices go by sha256 of an item's id, evenly over the classes: no stream of random numbers can change them, and
    a larger choice holds the smaller ones.
    """

    def __init__(self, *, on_bad: OnBad = "error", cache: Path | None = None, progress: Progress = SILENT) -> None:
        """`on_bad` is what `train` means by it."""
        self.on_bad, self.cache, self.progress = on_bad, cache or cache_folder(), progress
        self._opened: dict[str, Dataset] = {}
        self._packed: dict[Pictures, tuple[Dataset, Pack]] = {}
        self._data: dict[tuple[Pictures, int], tuple[Data, Split]] = {}

    def source(self, name: str) -> Dataset:
        """The whole Dataset behind a source. Raises SourceError."""
        if name not in self._opened:
            self._opened[name] = open_source(name, on_bad=self.on_bad, cache=self.cache, progress=self.progress)
        return self._opened[name]

    def data(self, pictures: Pictures, seed: int) -> tuple[Data, Split]:
        """The pictures as training takes them, and their split for this seed. Raises DataError, UsageError."""
        if (pictures, seed) not in self._data:
            dataset, canvases = self._pack(pictures)
            drawn = split(dataset, canvases.pixel_hashes, seed=seed, allow_leak=bool(pictures.test_share))
            if pictures.test_share:
                drawn = _without_twins(drawn)
            if not _held_out(dataset):  # with a part held out the limits held before anything was decoded
                drawn = _less(drawn, dataset, pictures)
            learning = drawn.learning
            data = Data(dataset, canvases, learning, canvases.rows(learning.train), canvases.rows(learning.val))
            self._data[pictures, seed] = data, drawn
        return self._data[pictures, seed]

    def _pack(self, pictures: Pictures) -> tuple[Dataset, Pack]:
        if pictures not in self._packed:
            dataset = chosen(self.source(pictures.source), pictures)
            if pictures.channels not in (1, 3):
                raise UsageError(f"Pictures of {pictures.channels} channels were asked for.", "1 (grey) or 3 (colour)")
            preprocess = Preprocess.model_validate({"size": pictures.size, "channels": pictures.channels})
            canvases = pack(dataset, preprocess, cache=self.cache, on_bad=self.on_bad, progress=self.progress)
            self._packed[pictures] = dataset.without(canvases.bad), canvases
        return self._packed[pictures]


def chosen(dataset: Dataset, pictures: Pictures) -> Dataset:
    """The part of a source that `pictures` name, before any split. Raises DataError."""
    if pictures.classes:
        dataset = _of_classes(dataset, pictures.classes)
    held_out = _held_out(dataset)
    if pictures.test_share:
        rows = [row for row, part in enumerate(dataset.splits) if not held_out or part != held_out]
        dataset = dataset.select(dataset.ids[row] for row in rows)
        test = set(_drawn(dataset, range(len(dataset)), pictures.test_share))
        dataset = replace(dataset, splits=tuple("test" if row in test else "train" for row in range(len(dataset))))
        held_out = "test"
    if not held_out:
        return dataset
    inside = [row for row, part in enumerate(dataset.splits) if part == held_out]
    outside = [row for row, part in enumerate(dataset.splits) if part != held_out]
    rows = sorted(_limited(dataset, outside, pictures.train_limit) + _limited(dataset, inside, pictures.test_limit))
    return dataset.select(dataset.ids[row] for row in rows) if len(rows) < len(dataset) else dataset


def _of_classes(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    unknown = [name for name in names if name not in dataset.classes]
    if unknown:
        raise DataError(
            f"{dataset.name} has no class {', '.join(map(repr, unknown))}.",
            "some of " + ", ".join(dataset.classes[:20]) + (", ..." if len(dataset.classes) > 20 else ""),
        )
    label = {dataset.classes.index(name): place for place, name in enumerate(names)}
    some = dataset.select(id for id, old in zip(dataset.ids, dataset.labels.tolist(), strict=True) if old in label)
    return replace(some, classes=names, labels=np.array([label[old] for old in some.labels.tolist()], np.int64))


def _held_out(dataset: Dataset) -> str:
    """The part that is the source's test part; "" where it has none."""
    return next((part for part in ("test", "val") if part in dataset.splits), "")


def _without_twins(drawn: Split) -> Split:
    """Less the training pictures whose canvas stands in the test part too: we drew that part, so it is ours to mend."""
    twins = {id for _, id in drawn.leaks}
    train, val = (tuple(id for id in ids if id not in twins) for ids in (drawn.train, drawn.val))
    return replace(drawn, train=train, val=val, leaks=())


def _less(drawn: Split, dataset: Dataset, pictures: Pictures) -> Split:
    """A split within the limits: training and validation share theirs as they stand to each other."""
    learning = len(drawn.train) + len(drawn.val)
    limit = pictures.train_limit or learning
    val_limit = max(1, round(limit * len(drawn.val) / learning)) if limit < learning else 0

    def part(ids: tuple[str, ...], most: int) -> tuple[str, ...]:
        rows = _limited(dataset, [dataset.row[id] for id in ids], most)
        return tuple(sorted(dataset.ids[row] for row in rows))

    return replace(
        drawn,
        train=part(drawn.train, limit - val_limit if val_limit else 0),
        val=part(drawn.val, val_limit),
        test=part(drawn.test, pictures.test_limit),
    )


def _limited(dataset: Dataset, rows: Sequence[int], limit: int) -> list[int]:
    """At most `limit` of the rows (0 is all), as many from each class as from the next, the first by hash."""
    if not limit or limit >= len(rows):
        return list(rows)
    by_class = _by_class(dataset, rows)
    each, over = divmod(limit, len(by_class))
    found = [row for place, some in enumerate(by_class) for row in some[: each + (place < over)]]
    # A class too small for its part leaves it to the others.
    rest = sorted((row for some in by_class for row in some[each:]), key=lambda row: _order(dataset, row))
    taken = set(found)
    found += [row for row in rest if row not in taken][: limit - len(found)]
    return found


def _drawn(dataset: Dataset, rows: Iterable[int], share: float) -> list[int]:
    """That share of each class."""
    return [row for some in _by_class(dataset, rows, "test") for row in some[: round(share * len(some))]]


def _by_class(dataset: Dataset, rows: Iterable[int], purpose: str = "limit") -> list[list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        found[int(dataset.labels[row])].append(row)
    return [sorted(found[label], key=lambda row: _order(dataset, row, purpose)) for label in sorted(found)]


def _order(dataset: Dataset, row: int, purpose: str = "limit") -> bytes:
    return hashlib.sha256(f"{purpose}\x1f{dataset.ids[row]}".encode()).digest()

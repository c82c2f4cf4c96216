"""A Dataset: which images exist, what each one shows, and how to get its bytes. It holds no pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SPLIT_NAMES = ("train", "val", "test")
"""The names that a source may give to its own parts; "" stands for none."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A file that cannot be used, and why, in words that a user can act on."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a Dataset came from.

    Attributes:
        source: the name of its kind in `SOURCES` ("folder", "cifar10", ...).
        official: "verified" when the files carry their owner's checksums, "unverified" when they do not,
            "own" for the user's own data.
        notes: sentences for the report, such as "labels from val_annotations.txt".
    """

    source: str
    official: Literal["verified", "unverified", "own"]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Items by column, in one fixed order.

    Attributes:
        name: short name for people and for file names.
        classes: class names in fixed order; a label is an index into them.
        ids: unique, stable names of the items, such as the path below the source's root.
        hashes: sha256 (hex) of each item's encoded bytes.
        labels: int64[N].
        splits: per item "train", "val", "test" as the source says, or "" where it says nothing.
        groups: per item a group that may not straddle splits (a patient, a burst), or "" for none.
        read: id -> encoded image bytes. Arrays are handed out as PGM or PPM, so that every image has a file's form.
        provenance: where it came from.
        bad: items that were left out, with their reasons.
    """

    name: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    hashes: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    read: Callable[[str], bytes]
    provenance: Provenance
    bad: tuple[Bad, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.ids)
        columns = {"hashes": self.hashes, "labels": self.labels, "splits": self.splits, "groups": self.groups}
        for column, values in columns.items():
            assert len(values) == n, f"{column} has {len(values)} entries for {n} items"
        assert self.labels.dtype == np.int64
        assert not n or (int(self.labels.min()) >= 0 and int(self.labels.max()) < len(self.classes))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over every column, the classes and the bad items: equal exactly when the data are equal."""
        digest = hashlib.sha256("\x1f".join(self.classes).encode())
        labels = self.labels.tolist()
        for row in zip(self.ids, self.hashes, labels, self.splits, self.groups, strict=True):
            digest.update(("\x1e" + "\x1f".join(map(str, row))).encode())
        for bad in self.bad:
            digest.update(f"\x1d{bad.id}".encode())
        return digest.hexdigest()

    @cached_property
    def row(self) -> dict[str, int]:
        """id -> row."""
        return {id: row for row, id in enumerate(self.ids)}

    def counts(self) -> NDArray[np.int64]:
        """Items per class, int64[num_classes]."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def without(self, bad: Iterable[Bad]) -> Dataset:
        """The same Dataset less the bad items, which are listed in `bad`."""
        bad = tuple(bad)
        gone = {entry.id for entry in bad}
        keep = [row for row, id in enumerate(self.ids) if id not in gone]
        return replace(self._rows(keep), bad=self.bad + bad)

    def select(self, ids: Iterable[str]) -> Dataset:
        """The items named, in the order given."""
        return self._rows([self.row[id] for id in ids])

    def summary(self) -> dict[str, Any]:
        """What a run keeps of the Dataset: sizes, classes, provenance, fingerprint; no pixel and no path."""
        return {
            "name": self.name,
            "n": len(self),
            "classes": list(self.classes),
            "counts": self.counts().tolist(),
            "source": self.provenance.source,
            "official": self.provenance.official,
            "notes": list(self.provenance.notes),
            "bad": [{"id": bad.id, "reason": bad.reason} for bad in self.bad],
            "fingerprint": self.fingerprint,
        }

    def _rows(self, rows: list[int]) -> Dataset:
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            hashes=tuple(self.hashes[row] for row in rows),
            labels=self.labels[rows] if rows else np.zeros(0, np.int64),
            splits=tuple(self.splits[row] for row in rows),
            groups=tuple(self.groups[row] for row in rows),
        )

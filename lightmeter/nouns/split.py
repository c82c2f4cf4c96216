"""A Split: named disjoint sets of item ids, kept as ids so that it is never drawn again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightmeter.nouns.files import read_json, write_json

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Learning:
    """The part of a Split that training, search and calibration may see. It has no test."""

    train: tuple[str, ...]
    val: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """Disjoint sets of item ids.

    Attributes:
        train, val, test: item ids.
        fingerprint: of the Dataset that was split.
        origin: for each name "source" (the source's own part) or "drawn" (carved by us).
        seed: of the draw.
        leaks: pairs (test id, train id) of identical pictures that were allowed to stay.
        clusters: how many groups of duplicates or given groups were kept together.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    fingerprint: str
    origin: dict[str, str]
    seed: int
    leaks: tuple[tuple[str, str], ...] = ()
    clusters: int = 0

    def __post_init__(self) -> None:
        total = len(self.train) + len(self.val) + len(self.test)
        assert len({*self.train, *self.val, *self.test}) == total, "the parts of a split overlap"

    @property
    def learning(self) -> Learning:
        """Train and val only: what is handed to everything but `evaluate`."""
        return Learning(self.train, self.val)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(
            path,
            {
                "format": FORMAT,
                "fingerprint": self.fingerprint,
                "origin": self.origin,
                "seed": self.seed,
                "clusters": self.clusters,
                "leaks": [list(pair) for pair in self.leaks],
                "train": list(self.train),
                "val": list(self.val),
                "test": list(self.test),
            },
        )

    @staticmethod
    def load(path: Path) -> Split:
        """Read what `save` wrote. Raises FormatError where it is not that."""
        document = read_json(path, kind="split", newest=FORMAT)
        return Split(
            train=tuple(document["train"]),
            val=tuple(document["val"]),
            test=tuple(document["test"]),
            fingerprint=document["fingerprint"],
            origin=document["origin"],
            seed=document["seed"],
            leaks=tuple((test, train) for test, train in document["leaks"]),
            clusters=document["clusters"],
        )

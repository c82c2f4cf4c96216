from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from lightmeter.nouns.dataset import Bad, Dataset, Provenance


def make(n: int = 4) -> Dataset:
    return Dataset(
        name="toy",
        classes=("cat", "dog"),
        ids=tuple(f"{row}.png" for row in range(n)),
        hashes=tuple(hashlib.sha256(bytes([row])).hexdigest() for row in range(n)),
        labels=np.arange(n, dtype=np.int64) % 2,
        splits=("",) * n,
        groups=("",) * n,
        read=str.encode,
        provenance=Provenance("folder", "own"),
    )


def test_equal_data_have_equal_fingerprints() -> None:
    assert make().fingerprint == make().fingerprint
    assert make().fingerprint == replace(make(), name="other", provenance=Provenance("x", "own")).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("cat", "bird")},
        {"ids": ("0.png", "1.png", "2.png", "x.png")},
        {"hashes": ("0", "1", "2", "3")},
        {"labels": np.array([0, 1, 0, 0])},
        {"splits": ("train", "", "", "")},
        {"groups": ("", "", "", "burst")},
        {"bad": (Bad("9.png", "cut short"),)},
    ],
)
def test_every_column_is_part_of_the_fingerprint(change: dict[str, object]) -> None:
    assert replace(make(), **change).fingerprint != make().fingerprint  # type: ignore[arg-type]


def test_the_fingerprint_is_what_it_always_was() -> None:
    """Packs and runs of earlier versions are found by it."""
    digest = hashlib.sha256(b"cat\x1fdog")
    for row in range(4):
        line = f"\x1e{row}.png\x1f{hashlib.sha256(bytes([row])).hexdigest()}\x1f{row % 2}\x1f\x1f"
        digest.update(line.encode())
    assert make().fingerprint == digest.hexdigest()


def test_without_lists_what_it_drops() -> None:
    left = make().without([Bad("1.png", "cut short")])
    assert left.ids == ("0.png", "2.png", "3.png")
    assert left.labels.tolist() == [0, 0, 1]
    assert left.bad == (Bad("1.png", "cut short"),)
    assert left.fingerprint != make().fingerprint


def test_select_keeps_the_order_asked_for() -> None:
    chosen = make().select(["3.png", "0.png"])
    assert chosen.ids == ("3.png", "0.png")
    assert chosen.labels.tolist() == [1, 0]
    assert make().select([]).labels.dtype == np.int64


def test_counts_include_classes_without_images() -> None:
    assert replace(make(), classes=("cat", "dog", "bird")).counts().tolist() == [2, 2, 0]


def test_columns_of_unequal_length_are_our_bug() -> None:
    with pytest.raises(AssertionError, match="splits has 1 entries for 4 items"):
        replace(make(), splits=("",))


def test_the_summary_is_plain_and_names_no_path() -> None:
    summary = make().summary()
    assert summary["n"] == 4
    assert summary["counts"] == [2, 2]
    assert summary["fingerprint"] == make().fingerprint
    assert "read" not in summary

"""Tiny ImageNet in its owner's layout as a Dataset; its test images carry no labels and are not in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.sources import scan
from lightmeter.sources.options import SourceOptions

PUBLISHED = ("train", "val", "test", "wnids.txt", "words.txt")
"""What belongs to the set."""

_EXPECTED = "wnids.txt, words.txt, train/WNID/images and val/images with val_annotations.txt"


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """train/ and val/, the latter labelled by val_annotations.txt; classes in the order of their wnids, in words.

    Raises:
        SourceError: not this layout, or annotations that do not fit the files.
    """
    assert location is not None
    root = find(location)
    if root is None:
        raise SourceError(
            f"{location} does not have the layout of Tiny ImageNet.",
            _EXPECTED,
            "`lightmeter data fetch tiny-imagenet`.",
        )
    wnids = sorted(_text(root / "wnids.txt").split())
    label = {wnid: position for position, wnid in enumerate(wnids)}
    annotated: dict[str, str] = {}
    for line in _text(root / "val" / "val_annotations.txt").splitlines():
        name, wnid = line.split("\t")[:2] if "\t" in line else (line, "")
        annotated[f"val/images/{name}"] = wnid
    listing = scan.walk(root, skip={"test"})
    rows: list[tuple[scan.Entry, str]] = []
    for entry in listing.images:
        pieces = entry.path.split("/")
        wnid = pieces[1] if pieces[0] == "train" else annotated.get(entry.path, "")
        if wnid not in label:
            raise SourceError(f"{root / entry.path} has no label.", _EXPECTED, "fetch the set again.")
        rows.append((entry, wnid))
    missing = sorted(set(annotated) - {entry.path for entry, _ in rows})
    if missing:
        raise SourceError(f"{root} lacks {len(missing)} annotated images, such as {missing[0]}.", fix="fetch it again.")
    hashes, bad = scan.hashes(root, [entry for entry, _ in rows], options)
    rows = [row for row in rows if row[0].path in hashes]
    notes = ("val labels from val_annotations.txt", "the unlabelled images of test/ are not used")
    return Dataset(
        name=options.name or "tiny-imagenet",
        classes=class_names(wnids, _text(root / "words.txt")),
        ids=tuple(entry.path for entry, _ in rows),
        hashes=tuple(hashes[entry.path] for entry, _ in rows),
        labels=np.array([label[wnid] for _, wnid in rows], np.int64),
        splits=tuple(entry.path.split("/", 1)[0] for entry, _ in rows),
        groups=("",) * len(rows),
        read=scan.FileReader(str(root.resolve())),
        provenance=Provenance("tiny_imagenet", "unverified", notes),
        bad=bad,
    )


def class_names(wnids: list[str], words: str) -> tuple[str, ...]:
    """The first synonym of each wnid in words.txt; where two classes share it, their wnids tell them apart."""
    meaning = dict(line.split("\t", 1) for line in words.splitlines() if "\t" in line)
    first = [meaning.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    count = Counter(first)
    return tuple(f"{name} ({wnid})" if count[name] > 1 else name for name, wnid in zip(first, wnids, strict=True))


def find(location: Path) -> Path | None:
    """The folder that holds the lists and the parts: this one, or tiny-imagenet-200 below it; else None."""
    for root in (location, location / "tiny-imagenet-200"):
        needed = ("wnids.txt", "words.txt", "train", "val/val_annotations.txt")
        if all((root / name).exists() for name in needed):
            return root
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} could not be read: {error}.", _EXPECTED, "fetch the set again.") from error

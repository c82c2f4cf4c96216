"""Imagenette, ten easy classes of ImageNet in wnid folders, as a Dataset with its classes in words."""

from __future__ import annotations

from pathlib import Path

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.sources import folder
from lightmeter.sources.options import SourceOptions

WORDS = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
"""Source: the README of https://github.com/fastai/imagenette."""


PUBLISHED = ("train", "val", "noisy_imagenette.csv")
"""What belongs to the set."""


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """The pictures of any of the published sizes; val/ is the owner's held-out part.

    Raises:
        SourceError: not this layout.
    """
    assert location is not None
    root = find(location)
    if root is None:
        raise SourceError(
            f"{location} does not have the layout of Imagenette.",
            "train/ and val/ with ten wnid folders, directly or below one folder such as imagenette2-160",
            "`lightmeter data fetch imagenette`.",
        )
    named = SourceOptions(**{**vars(options), "name": options.name or "imagenette"})
    provenance = Provenance("imagenette", "unverified")
    return folder.from_listing(root, folder.existing(root), named, words=WORDS, provenance=provenance)


def find(location: Path) -> Path | None:
    """The folder whose train/ and val/ hold just the ten wnid folders: this one, or one below it; else None."""
    if not location.is_dir():
        return None
    below = sorted(path for path in location.iterdir() if path.name.startswith("imagenette") and path.is_dir())
    for root in (location, *below):
        if all(_wnids(root / part) == set(WORDS) for part in ("train", "val")):
            return root
    return None


def _wnids(path: Path) -> set[str]:
    return {child.name for child in path.iterdir() if not child.name.startswith(".")} if path.is_dir() else set()

"""Arrays of pixels as a Dataset: each image is handed out as a PGM or PPM file, so that one decoder serves all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.dataset import Dataset, Provenance


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """id -> PGM or PPM bytes, from one array per part."""

    parts: Mapping[str, NDArray[np.uint8]]  # each uint8[N, H, W] or uint8[N, H, W, 3]

    def __call__(self, id: str) -> bytes:
        """Read one item."""
        part, _, row = id.rpartition("/")
        pixels = self.parts[part]
        return header(pixels) + bytes(pixels[int(row)].data)


def header(pixels: NDArray[np.uint8]) -> bytes:
    """The head of a PGM (grey) or PPM (colour) file that holds one image of `pixels`, uint8[N, H, W(, 3)]."""
    height, width = pixels.shape[1:3]
    return b"%s\n%d %d\n255\n" % (b"P5" if pixels.ndim == 3 else b"P6", width, height)


def from_arrays(
    name: str,
    classes: tuple[str, ...],
    parts: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int64]]],
    *,
    provenance: Provenance,
) -> Dataset:
    """A Dataset from pixels and labels per part ("train", "val", "test", or "" for none).

    Ids are "train/00017": the part and the position in it.
    """
    ids: list[str] = []
    hashes: list[str] = []
    splits: list[str] = []
    kept: dict[str, NDArray[np.uint8]] = {}
    for part, (pixels, _) in parts.items():
        contiguous = kept[part] = np.ascontiguousarray(pixels)
        start = f"{part}/" if part else ""
        ids.extend(f"{start}{row:05d}" for row in range(len(contiguous)))
        hashes.extend(_hashes(contiguous))
        splits.extend([part] * len(contiguous))
    return Dataset(
        name=name,
        classes=classes,
        ids=tuple(ids),
        hashes=tuple(hashes),
        labels=np.concatenate([labels.astype(np.int64) for _, labels in parts.values()]),
        splits=tuple(splits),
        groups=("",) * len(ids),
        read=ArrayReader(kept),
        provenance=provenance,
    )


def _hashes(pixels: NDArray[np.uint8]) -> list[str]:
    # Copying the state that has read the header is cheaper than joining header and pixels 70,000 times.
    begun = hashlib.sha256(header(pixels))
    hashes = []
    for row in pixels.reshape(len(pixels), -1):
        digest = begun.copy()
        digest.update(row.data)
        hashes.append(digest.hexdigest())
    return hashes

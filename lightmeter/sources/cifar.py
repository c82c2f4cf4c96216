"""CIFAR-10 in its binary version (`cifar-10-batches-bin`) as a Dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.sources.arrays import from_arrays
from lightmeter.sources.options import SourceOptions

FOLDER = "cifar-10-batches-bin"
PUBLISHED = ("*_batch*.bin", "batches.meta.txt", "readme.html")
"""What belongs to the set."""

_BATCHES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
_RECORD = 1 + 3 * 32 * 32  # a label, then a red, a green and a blue plane


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """The batches in their order, uint8[N, 32, 32, 3]; `test_batch.bin` is the test part.

    Source of the format: https://www.cs.toronto.edu/~kriz/cifar.html, section "Binary version".

    Raises:
        SourceError: a batch is missing or not of this format.
    """
    assert location is not None
    root = find(location)
    if root is None:
        pickled = any((location / below / "data_batch_1").exists() for below in (".", "cifar-10-batches-py"))
        found = "the Python version, which is pickled and is never loaded" if pickled else "not there"
        raise SourceError(
            f"CIFAR-10 in {location} is {found}.",
            f"the binary version: data_batch_1.bin to 5 and test_batch.bin, in {FOLDER} or directly",
            "`lightmeter data fetch cifar10`.",
        )
    try:
        names = (root / "batches.meta.txt").read_text(encoding="utf-8").split()
    except OSError as error:
        raise SourceError(f"{root / 'batches.meta.txt'} could not be read: {error.strerror}.") from error
    parts = {part: _part(root, batches, len(names)) for part, batches in _BATCHES.items()}
    return from_arrays(options.name or "cifar10", tuple(names), parts, provenance=Provenance("cifar", "unverified"))


def find(location: Path) -> Path | None:
    """The folder that holds the batches: this one, or the published one below it; else None."""
    for root in (location, location / FOLDER):
        if (root / "data_batch_1.bin").is_file() and (root / "test_batch.bin").is_file():
            return root
    return None


def _part(root: Path, batches: tuple[str, ...], num_classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels, labels = [], []
    for name in batches:
        try:
            content = np.fromfile(root / name, np.uint8)
        except OSError as error:
            raise SourceError(f"{root / name} could not be read: {error.strerror}.") from error
        if not len(content) or len(content) % _RECORD:
            raise SourceError(
                f"{root / name} has {len(content)} bytes.", f"records of {_RECORD} bytes", "fetch the file again."
            )
        records = content.reshape(-1, _RECORD)
        if int(records[:, 0].max()) >= num_classes:
            raise SourceError(f"{root / name} holds label {records[:, 0].max()}.", f"labels below {num_classes}")
        labels.append(records[:, 0].astype(np.int64))
        pixels.append(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return np.concatenate(pixels), np.concatenate(labels)

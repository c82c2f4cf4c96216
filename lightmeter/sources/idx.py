"""The four idx files of MNIST and its relatives, gzipped or not, as a Dataset; t10k is the test part."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.sources.arrays import from_arrays
from lightmeter.sources.options import SourceOptions

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
PUBLISHED = ("*-idx?-ubyte", "*-idx?-ubyte.gz", "*.idx?-ubyte")
"""What belongs to the set."""

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""Class names from the README of Fashion-MNIST; the files carry only numbers."""

_FASHION_TEST_LABELS = "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9"
"""sha256 of its 10,000 test labels, by which its files are told from MNIST's, which have the same names."""


def find(location: Path) -> Path | None:
    """The folder itself where it holds the four files, else None."""
    return location if all(_file(location, stem) for stems in FILES.values() for stem in stems) else None


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """The images of the four files, uint8[N, H, W].

    Source of the format: http://yann.lecun.com/exdb/mnist (big-endian header, then bytes).

    Raises:
        SourceError: a file is missing, broken, or does not fit its partner.
    """
    assert location is not None
    parts = {part: _part(location, *stems) for part, stems in FILES.items()}
    labels = parts["test"][1]
    is_fashion = hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest() == _FASHION_TEST_LABELS
    count = 1 + max((int(labels.max()) for _, labels in parts.values() if len(labels)), default=0)
    classes = FASHION if is_fashion else tuple(str(number) for number in range(count))
    provenance = Provenance("idx", "unverified" if is_fashion else "own")
    return from_arrays(options.name or location.resolve().name, classes, parts, provenance=provenance)


def _part(location: Path, images: str, labels: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels, numbers = _read(location, images, dimensions=3), _read(location, labels, dimensions=1)
    if len(pixels) != len(numbers):
        raise SourceError(f"{images} holds {len(pixels)} images, but {labels} {len(numbers)} labels.")
    return pixels, numbers.astype(np.int64)


def _file(location: Path, stem: str) -> Path | None:
    for name in (stem, stem + ".gz", stem.replace("-idx", ".idx")):
        if (location / name).is_file():
            return location / name
    return None


def _read(location: Path, stem: str, *, dimensions: int) -> NDArray[np.uint8]:
    path = _file(location, stem)
    if path is None:
        raise SourceError(f"{location} lacks {stem} (or {stem}.gz).", "the four idx files of MNIST's layout")
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} could not be read: {error}.", fix="fetch the file again.") from error
    size = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content[4:size], ">u4").tolist())
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) != size + int(np.prod(shape, dtype=object)):
        raise SourceError(
            f"{path} is not an idx file of {dimensions} dimension{'s' if dimensions > 1 else ''}, or was cut short.",
            "a header of sizes and then exactly that many bytes",
            "fetch the file again.",
        )
    return np.frombuffer(content, np.uint8, offset=size).reshape(shape)

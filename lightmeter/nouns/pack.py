"""A Pack: every canvas of a Dataset, decoded once and memory-mapped, with labels and one hash per canvas."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import DataError, FormatError
from lightmeter.nouns.dataset import Bad
from lightmeter.nouns.files import read_json
from lightmeter.nouns.preprocess import Preprocess

FORMAT = 1
DOCUMENT = "pack.json"
CANVASES = "canvases.npy"
LABELS = "labels.npy"
IDS = "ids.txt"
HASHES = "hashes.txt"
SEPARATOR = "\0"
"""Between ids: the one character that no path and no table cell holds."""


@dataclass(frozen=True, eq=False)
class Pack:
    """Canvases by row.

    Attributes:
        path: its folder.
        ids: of the items, in the Dataset's order less the bad ones.
        labels: int64[N].
        pixels: uint8[N, S, S, C], memory-mapped and read-only.
        pixel_hashes: 32 hex digits for each canvas; equal where the canvases are.
        bad: items that could not become a canvas; `dataset.without(pack.bad)` matches the Pack row for row.
        notes: how many pictures each remark of the decoder holds for.
        preprocess: what made the canvases.
        dataset_fingerprint: of the Dataset with its bad items.
        document: the whole of pack.json.
    """

    path: Path
    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    pixel_hashes: tuple[str, ...]
    bad: tuple[Bad, ...]
    notes: dict[str, int]
    preprocess: Preprocess
    dataset_fingerprint: str
    document: dict[str, Any]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.ids)}

    def rows(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The rows of these ids, int64[n], in the order given. Raises DataError where one is not there."""
        row, wanted = self._row, list(ids)
        try:
            return np.fromiter((row[id] for id in wanted), np.int64, len(wanted))
        except KeyError as error:
            missing = [id for id in wanted if id not in row]
            raise DataError(
                f"Of {len(wanted)} pictures {len(missing)} cannot be found in the data, such as {missing[0]!r}.",
                "the data that the split was drawn from",
                "put them back where they were, or train again on what is there.",
            ) from error

    def soon(self, rows: NDArray[np.int64]) -> None:
        """Let the system read the canvases of these rows, int64[n], in the background; those in memory cost next to
        nothing.

        So a Pack larger than memory, or one that was made long ago, is read as fast as the disk can while the network
        computes, in the same random order as any other. What is touched without having been asked for, or was dropped
        since, is read page by page and alone: of its own accord the system would read what lies around it too,
        megabytes on some disks, and drop for them what was asked for. Hence whoever reads asks first: see `some`.
        """
        mapped = getattr(self.pixels, "_mmap", None)
        if not isinstance(mapped, mmap.mmap) or not hasattr(mapped, "madvise"):
            return  # not from a file, or a system without such advice
        begin = self.pixels.offset % mmap.ALLOCATIONGRANULARITY  # type: ignore[attr-defined]
        size = self.pixels.strides[0]
        mapped.madvise(mmap.MADV_RANDOM)
        for first in (begin + rows * size).tolist():
            start = first - first % mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, start, first + size - start)

    def some(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """A copy of the canvases of these rows, uint8[n, S, S, C], which are asked for all at once."""
        self.soon(rows)
        return self.pixels[rows]

    def each(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """The canvases of these rows, uint8[S, S, C], where they lie; they are asked for all at once."""
        self.soon(rows)
        pixels = np.asarray(self.pixels)  # a view of a mapped array makes an object of a slower class
        return [pixels[row] for row in rows.tolist()]

    def in_turn(self, rows: NDArray[np.int64], count: int) -> Iterator[NDArray[np.uint8]]:
        """The canvases of these rows, `count` at a time; what comes next is read meanwhile."""
        self.soon(rows[:count])
        for start in range(0, len(rows), count):
            self.soon(rows[start + count :][:count])
            yield self.some(rows[start : start + count])

    @staticmethod
    def open(path: Path) -> Pack:
        """Map a finished Pack. Lengths and types are checked, pixels are not read.

        Raises:
            FormatError: it is not a Pack, of a format we do not know, or not whole.
        """
        document = read_json(path / DOCUMENT, kind="pack", newest=FORMAT)
        try:
            preprocess = Preprocess.model_validate(document["preprocess"])
            for name, size in document["files"].items():
                if (path / name).stat().st_size != size:
                    raise ValueError(f"{name} has not the {size} bytes it was written with")
            n = int(document["n"])
            shape = (n, preprocess.size, preprocess.size, preprocess.channels)
            pixels: NDArray[np.uint8] = _array(path / CANVASES, np.dtype(np.uint8), shape)
            labels: NDArray[np.int64] = np.array(_array(path / LABELS, np.dtype(np.int64), (n,)))
            pack = Pack(
                path=path,
                ids=_lines(path / IDS),
                labels=labels,
                pixels=pixels,
                pixel_hashes=_lines(path / HASHES),
                bad=tuple(Bad(entry["id"], entry["reason"]) for entry in document["bad"]),
                notes=dict(document["notes"]),
                preprocess=preprocess,
                dataset_fingerprint=document["dataset"],
                document=document,
            )
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            fix = "delete the folder; it will be made again from the pictures."
            raise FormatError(f"{path} is not a whole pack ({error}).", "a pack as `train` makes it", fix) from error
        if len(pack.ids) != n or len(pack.pixel_hashes) != n:
            fix = "delete the folder; it will be made again from the pictures."
            raise FormatError(f"{path} is not a whole pack.", f"{n} ids and hashes", fix)
        return pack


def header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """How an .npy file of this array begins. Its length does not depend on the first axis (NumPy leaves room)."""
    stream = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


def _array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map the .npy file that must hold just this array.

    Not by numpy.load: it has Python's parser read the header, which fails now and then where several threads parse at
    once (https://github.com/python/cpython/issues/106905); and what we know need not be read but compared.
    """
    begin = header(dtype, shape)
    with open(path, "rb") as stream:
        if stream.read(len(begin)) != begin:
            raise ValueError(f"{path.name} does not hold {dtype.name}{list(shape)}")
        return np.memmap(stream, dtype, "r", len(begin), shape)


def lines(values: Iterable[str]) -> bytes:
    """Texts as one blob, which loads in milliseconds where JSON takes tens."""
    return SEPARATOR.join(values).encode("utf-8", "surrogateescape")


def _lines(path: Path) -> tuple[str, ...]:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return tuple(text.split(SEPARATOR)) if text else ()

"""neighbours: the training pictures that a network takes for the most alike. NumPy, Pillow and a runner; no torch."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.examples import FILE, SIDE, Examples
from lightmeter.nouns.pack import Pack
from lightmeter.runners import Runner, features_of

_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training picture near a given one.

    Attributes:
        id: as the source called it.
        label: its class.
        similarity: cosine of the angle between both pictures' features, seen from the examples' mean; 1 is the same.
        row: of the examples.
    """

    id: str
    label: str
    similarity: float
    row: int


class Neighbours:
    """Finds neighbours among the examples of one bundle. Threads may share it."""

    def __init__(self, bundle: Bundle, runner: Runner) -> None:
        """Read them. Raises BundleError: they cannot be used."""
        self._runner, self._classes = runner, bundle.classes
        self.examples = Examples.load(bundle.path / FILE, len(bundle.classes))
        self._mean = self.examples.features.mean(axis=0)
        self._directions = _directions(self.examples.features - self._mean)

    @staticmethod
    def of(bundle: Bundle, runner: Runner) -> Neighbours | None:
        """Those of a bundle that carries examples. Raises BundleError."""
        return Neighbours(bundle, runner) if FILE in bundle.files else None

    def nearest(self, canvases: NDArray[np.uint8], count: int) -> list[list[Neighbour]]:
        """For each canvas of uint8[N, S, S, C] its nearest examples, the nearest first."""
        if not len(canvases):
            return []
        features = features_of(self._runner, canvases)
        assert features is not None, "a bundle with examples has features"
        alike = _directions(features - self._mean) @ self._directions.T
        rows = np.argsort(-alike, axis=1, kind="stable")[:, :count]
        return [[self._neighbour(row, alike[place, row]) for row in some] for place, some in enumerate(rows.tolist())]

    def picture(self, row: int) -> bytes:
        """An example as PNG."""
        canvas = self.examples.canvases[row]
        stream = io.BytesIO()
        Image.fromarray(canvas if canvas.shape[2] == 3 else canvas[:, :, 0]).save(stream, "PNG")
        return stream.getvalue()

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        label = self._classes[int(self.examples.labels[row])]
        return Neighbour(self.examples.ids[row], label, float(similarity), row)


def gather(runner: Runner, canvases: Pack, ids: Sequence[str], count: int) -> Examples:
    """`count` training pictures with their features: as many of each class as can be, always the same ones.

    Args:
        runner: of a graph that gives features.
        ids: of the training pictures.
    """
    chosen = _evenly(canvases, ids, count)
    rows = canvases.rows(chosen)
    found: list[NDArray[np.float32]] = []
    small: list[NDArray[np.uint8]] = []
    for pixels in canvases.in_turn(rows, _AT_ONCE):
        features = features_of(runner, pixels)
        assert features is not None, "the graph was exported without features"
        found.append(features)
        small += map(_shrunk, pixels)
    return Examples(tuple(map(_shown, chosen)), canvases.labels[rows], np.concatenate(found), np.stack(small))


def _evenly(canvases: Pack, ids: Sequence[str], count: int) -> list[str]:
    """Class after class in turns, within a class by the hash of the id, until there are enough."""
    by_class: dict[int, list[str]] = {}
    ordered = sorted(ids, key=_by_hash)
    for id, label in zip(ordered, canvases.labels[canvases.rows(ordered)].tolist(), strict=True):
        by_class.setdefault(label, []).append(id)
    turns = [(turn, label, id) for label, some in by_class.items() for turn, id in enumerate(some)]
    return [id for _, _, id in sorted(turns)[:count]]


def _by_hash(id: str) -> bytes:
    return hashlib.sha256(id.encode("utf-8", "surrogateescape")).digest()


def _shown(id: str) -> str:
    """An id as text that any JSON can hold: a file's name may be no text at all."""
    return id.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _shrunk(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8[S, S, C] -> the same picture with a side of at most `SIDE`."""
    if len(canvas) <= SIDE:
        return canvas
    image = Image.fromarray(canvas if canvas.shape[2] == 3 else canvas[:, :, 0])
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return small.reshape(SIDE, SIDE, canvas.shape[2])


def _directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; a row of zeros stays."""
    length = np.sqrt((features**2).sum(axis=1, keepdims=True))
    directions: NDArray[np.float32] = features / np.maximum(length, np.finfo(np.float32).tiny)
    return directions

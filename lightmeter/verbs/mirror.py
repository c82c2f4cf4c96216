"""Measure on training images whether a mirrored picture still shows its class: a cat does, a digit 2 does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST_RATIO = 0.6  # of the mirrored accuracy to the plain one. Seen: digits 0.4, Fashion-MNIST 0.8, CIFAR-10 0.9
_LEAST_ASKED = 30  # pictures below which nothing is concluded
_SIDE = 16  # pictures are thinned to about this many pixels a side


@dataclass(frozen=True, slots=True)
class Mirror:
    """Accuracy of a nearest-neighbour vote on pictures as they are and on their mirror images, and the verdict."""

    n: int
    plain: float
    mirrored: float
    safe: bool

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.n < _LEAST_ASKED:
            return f"Nothing is mirrored: {self.n} training pictures are too few to tell whether that is safe."
        verdict = "Mirrored copies are used" if self.safe else "Nothing is mirrored"
        found = f"{self.plain:.0%} right, and {self.mirrored:.0%} mirrored"
        return f"{verdict}: of {self.n} training pictures nearest neighbours name {found}."


def measure_mirror(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Mirror:
    """Compare 1-nearest-neighbour accuracy on held-back training pictures, plain and mirrored.

    Args:
        pixels: uint8[N, S, S, C], training images in random order; a few thousand suffice.
        labels: int64[N].
    """
    half = len(pixels) * 3 // 4
    known, asked = _directions(pixels[:half]), pixels[half:]
    step = max(1, len(asked) // 1000)
    asked, answers = asked[::step], labels[half:][::step]

    def accuracy(pictures: NDArray[np.uint8]) -> float:
        nearest = (_directions(pictures) @ known.T).argmax(axis=1)
        return float((labels[:half][nearest] == answers).mean())

    plain, mirrored = accuracy(asked), accuracy(asked[:, :, ::-1])
    enough = len(asked) >= _LEAST_ASKED
    return Mirror(len(asked), plain, mirrored, enough and mirrored >= _LEAST_RATIO * plain)


def _directions(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thinned, centred and scaled to length 1, so that a product is a correlation."""
    stride = max(1, pixels.shape[1] // _SIDE)
    flat = pixels[:, ::stride, ::stride].astype(np.float32).reshape(len(pixels), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    scaled: NDArray[np.float32] = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)
    return scaled

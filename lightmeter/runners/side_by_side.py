"""Many pictures at a time: calls on one core each, side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

_SMALL = 2  # pictures in a part
_TURNS = 8  # parts that each lane gets of what is asked at once: small ones stay in its core's cache


class SideBySide:
    """A runner that parts what it is asked among lanes: uint8[N, S, S, C] -> float32[N, K].

    Attributes:
        at_once: pictures that keep all lanes busy with small parts.
    """

    def __init__(self, runner: Callable[[NDArray[np.uint8]], NDArray[np.float32]], lanes: int) -> None:
        """Share `runner`, whose calls take one core each, among so many threads."""
        self._runner, self._lanes = runner, lanes
        self.at_once = _SMALL * _TURNS * lanes
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits. Raises BundleError."""
        step = max(1, len(pixels) // (_TURNS * self._lanes))
        parts = [pixels[at : at + step] for at in range(0, len(pixels), step)]
        return np.concatenate(list(self._pool.map(self._runner, parts))) if parts else self._runner(pixels)

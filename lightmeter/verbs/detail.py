"""detail: whether the parts of a data set were shrunk by the same program, from the fine detail of their canvases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.pack import Pack

DIFFERS = 1.15
"""Times the detail, from which two parts are said to differ; parts drawn from one lot differ by less than 1.03."""

_LOOKED_AT = 1000  # pictures of a part
_AT_ONCE = 16  # pictures, so that the sums stay in the processor's cache
_FEW = 100  # below so many, the mean says little


def detail(pixels: NDArray[np.uint8]) -> float:
    """Mean difference in grey levels of uint8[N, S, S, C] from a blurred copy: weights 1, 2, 1 along both sides."""
    found = [_roughness(pixels[at : at + _AT_ONCE]) for at in range(0, len(pixels), _AT_ONCE)]
    return float(np.concatenate(found).mean())


def _roughness(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same of each of a few, float32[N]."""
    wide = pixels.astype(np.uint16)  # whole, as adding up strided bytes takes several times as long
    grey = wide[..., 0].astype(np.float32)  # float32[N, S, S], times the channels
    for channel in range(1, wide.shape[3]):
        grey += wide[..., channel]
    rows = grey[:, :-2] + 2 * grey[:, 1:-1] + grey[:, 2:]
    blurred = rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    apart = np.abs(16 * grey[:, 1:-1, 1:-1] - blurred).mean(axis=(1, 2))
    each: NDArray[np.float32] = apart / (16 * wide.shape[3])
    return each


def differences(pack: Pack, splits: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The source's held-out parts whose detail differs from that of its train part, and by what factor.

    No label is looked at.

    Args:
        pack: canvases.
        splits: per row of the pack the part that the source names, or "".
    """
    parts = np.asarray(splits)
    own = _of_part(pack, parts, "train")
    for name in ("val", "test"):
        other = _of_part(pack, parts, name)
        if own and other and not 1 / DIFFERS < other / own < DIFFERS:
            yield name, other / own


def _of_part(pack: Pack, parts: NDArray[np.str_], name: str) -> float | None:
    rows = np.flatnonzero(parts == name)
    if len(rows) < _FEW:
        return None
    return detail(pack.some(rows[:: max(1, len(rows) // _LOOKED_AT)]))

"""Canvases to 31-byte signatures that hardly change when a picture is re-encoded, and the search for near duplicates.

A signature holds the 54 lowest frequencies of a picture's brightness (a DCT without the constant part), each in 4 bits,
and the colour of its four quarters. Signs alone, as in the usual 64-bit perceptual hashes, cannot tell a copy that was
shifted by one pixel of 32 from a stranger; sizes with signs can. The likeness of two pictures is the correlation of
those frequencies; the colours only rule out.
docs/honest-numbers.md says how often this hits and how often it errs.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

NEAR = 0.80
"""Likeness from which two pictures may be near duplicates."""

CROWD = 10
"""How many others may be nearly as like: where more are, likeness is common and proves nothing."""

CHANCE = 0.002
"""Share of pictures without a twin that may be taken for near duplicates; sets how much nearer a twin must be."""

FEW = 50
"""Below so many pictures nothing can be said of how they lie; then only a likeness of SURE counts."""

SURE = 0.9
"""See FEW."""

PLAIN = 3.0
"""Standard deviation, in grey levels, below which a picture has nothing to be known by."""

COLOUR = 16.0
"""Mean difference in colour, in grey levels, up to which pictures of the same brightness pattern can be copies."""

BYTES = 31  # of a signature: 27 of frequencies, 4 of colours

_GRID = 32  # every canvas is averaged to so many cells a side, so that signatures of different canvas sizes compare
_WAVES = 10
_PLACES = [(i, j) for i in range(_WAVES) for j in range(_WAVES) if 0 < i + j < _WAVES]
_WEIGHTS = np.array([(i + j) ** 0.75 for i, j in _PLACES], np.float32)  # photographs have less of the high frequencies
_TURNED = np.array([j % 2 == 1 for _, j in _PLACES])  # in a mirror, what is odd along the row changes its sign
_STEPS = 7  # 4 bits: -7 to 7, and the pattern 0 for a plain picture
_LARGEST = 0.4  # of ratios: photographs lie less evenly than the reckoning takes for granted
_SHADES = 16  # grey levels in a step of colour
_WAVES_END = 27  # of the bytes of a signature
_CHUNK = 8 << 20  # bytes of float32 at a time


def signatures(pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The signatures of some canvases.

    Args:
        pixels: uint8[N, S, S, C], with C 1 or 3; may be memory-mapped.
        rows: int64[n], ascending for speed.

    Returns:
        uint8[n, 31]; zeros for a picture that is too plain to be known again.
    """
    size = pixels.shape[1]
    grid, waves = _grid(size), _waves()
    found = np.zeros((len(rows), BYTES), np.uint8)
    step = max(1, _CHUNK // (4 * size * size))
    vertical, horizontal = (np.array(side) for side in zip(*_PLACES, strict=True))
    for start in range(0, len(rows), step):
        some = pixels[rows[start : start + step]]
        luma = _luma(some)  # float32[n, S, S]
        cells = luma if size == _GRID else grid @ luma @ grid.T  # float32[n, 32, 32]
        values = (waves @ cells @ waves.T)[:, vertical, horizontal] * _WEIGHTS  # float32[n, 54]
        scale = np.abs(values).mean(axis=1, keepdims=True) * (2.5 / _STEPS)
        steps = np.clip(np.rint(values / np.maximum(scale, 1e-6)), -_STEPS, _STEPS).astype(np.int8)
        nibbles = (np.hstack([steps, _colours(some)]) + 8).astype(np.uint8)  # 1 to 15
        packed = nibbles[:, ::2] << 4 | nibbles[:, 1::2]
        packed[cells.std(axis=(1, 2)) < PLAIN] = 0
        found[start : start + step] = packed
    return found


def near_duplicates(asked: NDArray[np.uint8], seen: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each signature the row in `seen` of the nearest picture if that is a near duplicate, mirrored or not; or -1.

    It is one where its likeness is at least NEAR and its distance (1 - likeness) at most `ratio` times that of the
    picture after the next CROWD: pictures of shoes on white are all alike, and are not copies of each other. The
    test is David Lowe's (2004), its ratio follows from the pictures. Where both have colours, they must agree.

    Args:
        asked: uint8[n, 31].
        seen: uint8[m, 31].

    Returns:
        int64[n].
    """
    result = np.full(len(asked), -1, np.int64)
    known, own = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(asked.any(axis=1))
    if not len(known):
        return result
    even, odd = _halves(seen[known])
    few = len(known) < FEW
    share = 1.0 if few else ratio(even, odd)
    step, width = 256, 1024  # what is compared at a time stays in the processor's cache
    blocks = [slice(at, at + width) for at in range(0, len(known), width)]
    for start in range(0, len(own), step):
        rows = own[start : start + step]
        own_even, own_odd = _halves(asked[rows])
        nearest, place = np.full(len(rows), -1.0, np.float32), np.zeros(len(rows), np.int64)
        for block in blocks:
            likeness = _likeness(own_even, own_odd, even[block], odd[block])
            best = likeness.argmax(axis=1)
            value = likeness[np.arange(len(rows)), best]
            place = np.where(value > nearest, best + block.start, place)
            nearest = np.maximum(value, nearest)
        near = np.flatnonzero(nearest >= (SURE if few else NEAR))
        least = 1 - np.maximum(1 - nearest[near, None], 1e-5) / share  # float32 knows no smaller distance
        crowd = np.zeros(len(near), np.int64)
        for block in blocks:
            crowd += (_likeness(own_even[near], own_odd[near], even[block], odd[block]) > least).sum(axis=1)
        kept = near[crowd <= CROWD] if not few else near  # the nearest itself is among them
        twins = known[place[kept]]
        agree = _same_colours(asked[rows[kept]], seen[twins])
        result[rows[kept[agree]]] = twins[agree]
    return result


def ratio(even: NDArray[np.float32], odd: NDArray[np.float32]) -> float:
    """How near a twin must be, as a share of the distance to the 11th nearest, to come about by chance in CHANCE cases.

    Where pictures lie in d dimensions, evenly around each, (distance to the first / distance to the 11th) ** d is the
    smallest of ten random numbers between 0 and 1. The median of the 5th to the 11th distance tells d (an estimate in
    the manner of Levina and Bickel, 2004), whatever twins there are among these pictures already.
    """
    some = np.arange(len(even))[:: max(1, len(even) // 400)]
    fifth, eleventh = [], []
    for start in range(0, len(some), 64):
        rows = some[start : start + 64]
        likeness = _likeness(even[rows], odd[rows], even, odd)
        likeness[np.arange(len(rows)), rows] = -1  # not itself
        ends = np.partition(likeness, [-5, -CROWD - 1], axis=1)
        fifth.append(1 - ends[:, -5])
        eleventh.append(1 - ends[:, -CROWD - 1])
    shares = np.maximum(np.concatenate(fifth), 1e-5) / np.maximum(np.concatenate(eleventh), 1e-5)
    median_of_beta = 0.452  # Beta(5, 6), the fifth smallest of ten
    dimensions = np.log(median_of_beta) / np.log(min(float(np.median(shares)), 0.999))
    return float(min(_LARGEST, (CHANCE / CROWD) ** (1 / dimensions)))


def _likeness(
    even: NDArray[np.float32], odd: NDArray[np.float32], other_even: NDArray[np.float32], other_odd: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Correlation with the picture or its mirror image, whichever is more alike, float32[n, m]."""
    turned = odd @ other_odd.T
    np.abs(turned, out=turned)
    turned += even @ other_even.T
    return turned


def _halves(packed: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Signatures of length 1, parted into what a mirror leaves as it is and what it turns."""
    values = _nibbles(packed[:, :_WAVES_END])
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return np.ascontiguousarray(values[:, ~_TURNED]), np.ascontiguousarray(values[:, _TURNED])


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The values in some bytes of signatures, float32[n, 2 * bytes], -7 to 7."""
    halves = np.stack([packed >> 4, packed & 15], axis=2)
    return halves.reshape(len(packed), 2 * packed.shape[1]).astype(np.float32) - 8


def _colours(pixels: NDArray[np.uint8]) -> NDArray[np.int8]:
    """How much redder and bluer than grey each quarter is, in steps, int8[n, 8]; zeros for grey pictures."""
    if pixels.shape[3] == 1:
        return np.zeros((len(pixels), 8), np.int8)
    half = (pixels.shape[1] + 1) // 2
    count, side = pixels.shape[:2]
    sides = (slice(None, half), slice(-half, None))
    # Whole rows are added first: much faster than the mean over both axes at once, and exactly the same.
    rows = [pixels[:, part].reshape(count, half, side * 3).sum(axis=1, dtype=np.uint32) for part in sides]
    quarters = [row.reshape(count, side, 3)[:, part].sum(axis=1) / half**2 for row in rows for part in sides]
    means = np.stack(quarters, axis=1)  # float64[n, 4, 3]
    grey = means @ np.array([0.299, 0.587, 0.114])
    casts = np.stack([means[..., 0] - grey, means[..., 2] - grey], axis=2).reshape(len(pixels), 8)
    return np.clip(np.rint(casts / _SHADES), -_STEPS, _STEPS).astype(np.int8)


def _same_colours(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether colours agree, mirrored or not, or one of the two has none, bool[n]."""
    one, other = _nibbles(first[:, _WAVES_END:]), _nibbles(second[:, _WAVES_END:])
    mirrored = other.reshape(-1, 2, 2, 2)[:, :, ::-1].reshape(other.shape)  # rows, columns, red and blue
    apart = np.minimum(np.abs(one - other).mean(axis=1), np.abs(one - mirrored).mean(axis=1))
    grey = (one == 0).all(axis=1) | (other == 0).all(axis=1)
    agree: NDArray[np.bool_] = grey | (apart * _SHADES <= COLOUR)
    return agree


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    if pixels.shape[3] == 1:
        return pixels[..., 0].astype(np.float32)
    wide = pixels.astype(np.uint16)  # all at once: from a strided view each conversion takes longer
    luma = 77 * wide[..., 0]
    luma += 150 * wide[..., 1]
    luma += 29 * wide[..., 2]
    luma >>= 8
    return luma.astype(np.float32)


@cache
def _waves() -> NDArray[np.float32]:
    """float32[10, 32]: 0 to 9 half waves over the grid."""
    cells = np.arange(_GRID) + 0.5
    return np.cos(np.pi * np.arange(_WAVES)[:, None] * cells / _GRID).astype(np.float32)


@cache
def _grid(size: int) -> NDArray[np.float32]:
    """float32[32, size]: the share of each pixel in each cell of the grid."""
    edges = np.linspace(0, size, _GRID + 1)
    pixel = np.arange(size)
    shares = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    parts: NDArray[np.float32] = (np.clip(shares, 0, None) * _GRID / size).astype(np.float32)
    return parts

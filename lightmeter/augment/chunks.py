"""A batch in chunks that stay in a core's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightmeter.augment.base import Drawn

_CHUNK_BYTES = 1 << 20  # of pixels: less pays more for calls than it gains by the cache, more leaves the cache

Change = Callable[[Tensor, Drawn], Tensor]


def in_chunks(pixels: Tensor, changes: Sequence[tuple[Change, Drawn]]) -> Tensor:
    """Changes of single pictures, [N, S, S, C] each, one after another: those of the whole batch, only sooner.

    Each chunk goes through all changes before the next.

    Args:
        changes: what each does, and what was drawn for it: values of N rows, one a picture, or of one row for all.
    """
    n = len(pixels)
    each = max(1, _CHUNK_BYTES // (pixels[:1].numel() * pixels.element_size()))
    if n <= each:
        return _through(pixels, changes, slice(None))
    result = torch.empty_like(pixels)
    for start in range(0, n, each):
        part = slice(start, start + each)
        result[part] = _through(pixels, changes, part)
    return result


def _through(pixels: Tensor, changes: Sequence[tuple[Change, Drawn]], part: slice) -> Tensor:
    n = len(pixels)
    some = pixels[part]
    for change, drawn in changes:
        some = change(some, {name: value[part] if len(value) == n else value for name, value in drawn.items()})
    return some

"""Pictures changed one by one on the processor, each by all changes while a core's cache still holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[Any]
"""uint8 or float32 [S, S, C]; for OpenCV, [S, S] where there is one channel."""

Change = Callable[[int, Picture, Picture], Picture]
"""(place in the batch, picture, room) -> the room, filled, or the picture itself where it stays as it is.

As OpenCV takes them, and picture and room are different memory. Threads call it for different places at once.
"""

_MOST_THREADS = 4  # only one of them runs Python at a time, which is about a sixth of the work
_WORTH_THREADS = 40_000  # bytes of a picture, below which threads wait for Python more than they compute


def one_by_one(pictures: Sequence[Picture] | Picture, changes: Sequence[Change]) -> Tensor:
    """Pictures through all changes, on as many cores as PyTorch uses, but no more than a few.

    Args:
        pictures: [N, S, S, C] of uint8 or float32, or N of [S, S, C], wherever they lie; they stay as they are.

    Returns:
        the same kind [N, S, S, C], in memory of its own.
    """
    if not len(pictures):
        return torch.from_numpy(np.array(pictures))
    first = pictures[0]
    result = np.empty((len(pictures), *first.shape), first.dtype)
    grey = first.shape[2] == 1  # OpenCV leaves an axis of one channel out

    def some(start: int, stop: int) -> None:
        spare = np.empty(first.shape[:2] if grey else first.shape, first.dtype)
        for place, picture, own in zip(range(start, stop), pictures[start:stop], result[start:stop], strict=True):
            if grey:
                picture, own = picture[..., 0], own[..., 0]
            for change in changes:
                picture = change(place, picture, spare if picture is own else own)
            if picture is not own:
                own[...] = picture

    shares = 1
    if first.nbytes >= _WORTH_THREADS:
        shares = min(len(pictures), torch.get_num_threads(), _MOST_THREADS)
    bounds = [len(pictures) * number // shares for number in range(shares + 1)]
    others = [_threads(shares - 1).submit(some, *bounds[number : number + 2]) for number in range(1, shares)]
    some(bounds[0], bounds[1])
    for other in others:
        other.result()
    return torch.from_numpy(result)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="augment")

"""A batch in chunks that stay in a core's cache, several of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import torch
from torch import Tensor

from lightmeter.augment.base import Drawn

_CHUNK_BYTES = 1 << 18  # of pixels: with a copy or two they still lie in a core's cache

Change = Callable[[Tensor, Drawn], Tensor]


def in_chunks(pixels: Tensor, changes: Sequence[tuple[Change, Drawn]]) -> Tensor:
    """Changes of single pictures, [N, S, S, C] each, one after another: those of the whole batch, only sooner.

    Each chunk goes through all changes before the next, and as many chunks at a time as PyTorch has threads. On a GPU
    the batch is one chunk.

    Args:
        changes: what each does, and what was drawn for it: values of N rows, one a picture, or of one row for all.
    """
    n, threads = len(pixels), torch.get_num_threads()
    each = max(1, _CHUNK_BYTES // (pixels[:1].numel() * pixels.element_size()))
    if pixels.device.type != "cpu" or n <= each:
        return _through(pixels, changes, slice(None))
    each = min(each, -(-n // threads))
    result = torch.empty_like(pixels)

    def change(part: slice) -> None:
        result[part] = _through(pixels, changes, part)

    parts = [slice(start, start + each) for start in range(0, n, each)]
    if threads == 1:
        for part in parts:
            change(part)
    else:
        for _ in _pool(threads).map(change, parts):
            pass
        # A new thread of the pool changed how many threads those that come after it begin with.
        torch.set_num_threads(threads)
    return result


def _through(pixels: Tensor, changes: Sequence[tuple[Change, Drawn]], part: slice) -> Tensor:
    n = len(pixels)
    some = pixels[part]
    for change, drawn in changes:
        some = change(some, {name: value[part] if len(value) == n else value for name, value in drawn.items()})
    return some


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that each compute alone: cores are shared out by chunks, not within an operation."""
    cv2.setNumThreads(1)  # of the whole process, in which nothing else calls OpenCV
    return ThreadPoolExecutor(threads, "augment", initializer=torch.set_num_threads, initargs=(1,))

"""A batch in chunks that stay in a core's cache, shared out among the cores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from lightmeter.augment.base import Drawn

_CHUNK_BYTES = 1 << 20  # of pixels: less pays more for calls than it gains by the cache, more leaves the cache

Change = Callable[[Tensor, Drawn], Tensor]


def in_chunks(pixels: Tensor, changes: Sequence[tuple[Change, Drawn]]) -> Tensor:
    """Changes of single pictures, [N, S, S, C] each, one after another: those of the whole batch, only sooner.

    Each chunk goes through all changes before the next, in as many threads as PyTorch would use. On a GPU the batch is
    one chunk.

    Args:
        changes: what each does, and what was drawn for it: values of N rows, one a picture, or of one row for all.
    """
    n, threads = len(pixels), torch.get_num_threads()
    least = -(-pixels.numel() * pixels.element_size() // _CHUNK_BYTES)
    if pixels.device.type != "cpu" or least <= 1:
        return _through(pixels, changes, slice(None))
    each = -(-n // (-(-least // threads) * threads))  # so that every thread gets as many chunks
    result = torch.empty_like(pixels)

    def change(part: slice) -> None:
        result[part] = _through(pixels, changes, part)

    parts = [slice(start, start + each) for start in range(0, n, each)]
    for _ in _team(threads).map(change, parts) if threads > 1 else map(change, parts):
        pass  # but what it raises
    return result


@cache
def _team(threads: int) -> ThreadPoolExecutor:
    """So many threads, in which PyTorch's kernels run on one core: else each would bring as many threads of its own."""
    before, ready = torch.get_num_threads(), threading.Barrier(threads)

    def alone(_: int) -> None:
        torch.get_num_threads()  # sets a new thread up, which would undo the next line if it came later
        torch.set_num_threads(1)  # for this thread
        ready.wait()

    team = ThreadPoolExecutor(threads, thread_name_prefix="lightmeter-augment")
    list(team.map(alone, range(threads)))
    torch.set_num_threads(before)  # for threads that are still to come
    return team


def _through(pixels: Tensor, changes: Sequence[tuple[Change, Drawn]], part: slice) -> Tensor:
    n = len(pixels)
    some = pixels[part]
    for change, drawn in changes:
        some = change(some, {name: value[part] if len(value) == n else value for name, value in drawn.items()})
    return some

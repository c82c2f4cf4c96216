"""Memory that was freed, back to the system: glibc keeps what threads have freed, which looks like a leak."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> bool:
    """Hand freed memory back where the C library can; whether any was.

    Decoding needs up to some hundred MiB for a moment. glibc keeps such blocks for each thread, in pieces, so that a
    server that has met a few large pictures would stay as large as all of them together.
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    return bool(trim(0)) if trim is not None else False

"""Memory that was freed, back to the system, which glibc's keeping of it makes look like a leak; and memory that stays,
out of the collector's way.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_BLOCK = 4 << 20  # bytes
_LOOKS = 12


def hold_little() -> bool:
    """Have blocks above 4 MiB go back to the system as soon as they are freed; whether the C library can be told.

    glibc begins so, but raises the bound to the largest block that was freed, up to 32 MiB, and keeps twice that at the
    end of each thread's heap, which `give_back` cannot reach: after some large pictures every thread that decodes
    would hold up to 64 MiB. For the whole process, hence for a process that only serves.
    """
    tell = _of_glibc("mallopt")
    return tell is not None and all(tell(name, _BLOCK) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))


def give_back() -> bool:
    """Hand freed memory back where the C library can; whether any was.

    Decoding needs up to some hundred MiB for a moment. glibc keeps such blocks for each thread, in pieces, so that a
    server that has met a few large pictures would stay as large as all of them together.
    """
    trim = _of_glibc("malloc_trim")
    return trim is not None and bool(trim(0))


def settle() -> None:
    """Spare Python's collector all that is there to stay: modules, models, schemas. To be called once they are loaded.

    Else it goes through all of them every few thousand requests, and for that moment nothing else is done: 65 to 70 ms
    where it was looked at.
    """
    gc.unfreeze()  # what has gone since the last time must not stay
    gc.collect()
    gc.freeze()


class Rest:
    """When to give memory back: once nothing has come for a while, and where that is never so, at a free moment at
    least now and then. It makes all wait who allocate, and what was given back has to be taken anew.
    """

    def __init__(self) -> None:
        self._seen = self._tidied = self._looks = 0

    def due(self, let_in: int, *, busy: bool) -> bool:
        """To be asked every few seconds: requests that have been let in so far, and whether some are under way."""
        quiet, self._seen = let_in == self._seen, let_in
        self._looks += 1
        if busy or let_in == self._tidied or not (quiet or self._looks >= _LOOKS):
            return False
        self._tidied, self._looks = let_in, 0
        return True


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it is glibc."""
    if sys.platform != "linux":
        return None
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)  # other C libraries have none
    return found

"""Keep a library's warnings from the user while our own code judges what it reads."""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections.abc import Iterator
from typing import Any

_LOCK = threading.Lock()
_INSIDE = [0]
_PILLOW: tuple[Any, ...] = ("ignore", None, Warning, re.compile(r"PIL(\.|$)"), 0)


@contextlib.contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Ignore warnings that Pillow's modules give, as long as any thread is inside.

    `warnings.catch_warnings` is not safe here: threads that overlap restore each other's filters, and whatever the
    user's code sets meanwhile is undone. So one entry of our own is put in front, by the first thread to come, and
    that same entry is taken out by the last to leave.
    """
    with _LOCK:
        _INSIDE[0] += 1
        if _PILLOW not in warnings.filters:  # the list itself may have been swapped by another thread
            warnings.filters.insert(0, _PILLOW)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with _LOCK:
            _INSIDE[0] -= 1
            if not _INSIDE[0]:
                with contextlib.suppress(ValueError):
                    warnings.filters.remove(_PILLOW)  # type: ignore[attr-defined]

"""When a server hands freed memory back, and what of its memory the collector need not look at."""

from __future__ import annotations

import gc

_LOOKS = 12


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

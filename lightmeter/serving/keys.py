"""API keys and how often each may ask."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from pathlib import Path

from lightmeter.errors import UsageError
from lightmeter.serving.problems import Problem

_SHORTEST = 16


class Keys:
    """Who may ask. Keys are kept as their sha256 alone, and compared in constant time.

    Args:
        keys: name of the holder -> key.
        per_second: requests that a holder may send on average; 0 does not limit.
        burst: requests that it may send at once.
    """

    def __init__(self, keys: Mapping[str, str], *, per_second: float = 0.0, burst: int = 20) -> None:
        self._digests = {name: _digest(key) for name, key in keys.items()}
        self._per_second, self._burst = per_second, float(burst)
        self._left = dict.fromkeys(keys, float(burst))
        self._seen = dict.fromkeys(keys, time.monotonic())

    @staticmethod
    def read(path: Path, *, per_second: float = 0.0, burst: int = 20) -> Keys:
        """A text file with a line `NAME KEY` for each holder; lines that begin with # are remarks.

        Raises:
            UsageError: no such file, none in it, a name twice, or a key of less than 16 characters.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"{path} cannot be read ({reason}).", "a text file with lines NAME KEY") from error
        keys: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, _, key = line.strip().partition(" ")
            short = len(key.strip()) < _SHORTEST
            if short or name in keys:  # the line itself is a secret and is not repeated
                flaw = f"a key of {len(key.strip())} characters" if short else "the name of another line"
                raise UsageError(
                    f"Line {number} of the file of API keys has {flaw}.",
                    f"NAME KEY, each name once, keys of at least {_SHORTEST} characters",
                    "`openssl rand -hex 24` makes a good key.",
                )
            keys[name] = key.strip()
        if not keys:
            raise UsageError("The file of API keys holds none.", "a line NAME KEY for each holder")
        return Keys(keys, per_second=per_second, burst=burst)

    @property
    def names(self) -> tuple[str, ...]:
        """The holders."""
        return tuple(self._digests)

    def admit(self, headers: Mapping[str, str]) -> str:
        """The holder of the key in `Authorization: Bearer` or `X-API-Key`.

        Raises:
            Problem: 401 without a key that is known.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = _digest(token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))
        holder = ""
        for name, digest in self._digests.items():  # all of them, always: time tells nothing
            if hmac.compare_digest(digest, given):
                holder = name
        if not holder:
            raise Problem(401, "unauthorized", "Send a known key.", {"WWW-Authenticate": 'Bearer realm="lightmeter"'})
        return holder

    def spend(self, holder: str) -> None:
        """Count a request of a holder. Raises Problem (429) where there were too many."""
        if not self._per_second:
            return
        now = time.monotonic()
        left = min(self._burst, self._left[holder] + (now - self._seen[holder]) * self._per_second)
        self._seen[holder] = now
        if left < 1:
            self._left[holder] = left
            wait = max(1, round((1 - left) / self._per_second))
            raise Problem(429, "rate_limited", "This key has asked too often.", {"Retry-After": str(wait)})
        self._left[holder] = left - 1


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()

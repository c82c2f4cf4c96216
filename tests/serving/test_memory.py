from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest

from lightmeter.serving.memory import give_back


def resident() -> int:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_freed_in_pieces_goes_back_to_the_system() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("another C library than glibc")
    pieces = [b"x" * (100_000 + number) for number in range(2000)]  # 190 MiB, too small each for a mapping of its own
    full = resident()
    kept = pieces[::200]
    del pieces
    give_back()
    assert full - resident() > 150
    assert len(kept) == 10


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "elsewhere")
    assert give_back() is False

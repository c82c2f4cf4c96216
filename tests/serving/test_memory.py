from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from lightmeter.serving.memory import Rest, give_back, hold_little, settle


def resident() -> int:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


THREADS = """
import sys, threading
from pathlib import Path
from lightmeter.serving.memory import give_back, hold_little

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20

def work(freed, over):
    for size in (30, 20, 20):
        block = bytearray(size << 20)
        del block
    freed.wait()
    over.wait()

if sys.argv[1] == "held":
    assert hold_little()
before, freed, over = resident(), threading.Barrier(4), threading.Event()
threads = [threading.Thread(target=work, args=(freed, over)) for _ in range(3)]
for thread in threads:
    thread.start()
freed.wait()
give_back()
print(resident() - before)
over.set()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_threads_keep_nothing_of_large_pictures() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("another C library than glibc")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    left = {
        how: int(subprocess.check_output([sys.executable, "-c", THREADS, how], env=plain))
        for how in ("held", "as it is")
    }
    assert left["held"] < 10 < 40 < left["as it is"]


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
    assert give_back() is False and hold_little() is False


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_loaded_is_spared_by_the_collector_and_what_has_gone_is_not_kept() -> None:
    try:
        first = Ring()
        settle()
        assert not any(one is first for one in gc.get_objects())  # the collector does not go through it any more
        gone = weakref.ref(first)
        del first
        gc.collect()
        assert gone() is not None
        settle()
        assert gone() is None
    finally:
        gc.unfreeze()


def test_memory_goes_back_at_rest_and_under_lasting_load_at_a_free_moment() -> None:
    rest = Rest()
    assert not rest.due(0, busy=False)  # nothing has come yet
    assert not rest.due(5, busy=False)  # some came just now
    assert not rest.due(5, busy=True)  # one of them is still under way
    assert rest.due(5, busy=False)
    assert not rest.due(5, busy=False)  # once is enough
    looks = [rest.due(5 + number, busy=number % 2 == 0) for number in range(1, 30)]
    assert looks.count(True) == 2

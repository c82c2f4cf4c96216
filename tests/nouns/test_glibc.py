from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightmeter.nouns.glibc import give_back, hold_little, keep_freed


def resident() -> int:
    """MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // 2**20


THREADS = """
import sys, threading
from pathlib import Path
from lightmeter.nouns.glibc import give_back, hold_little

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


STEPS = """
import resource, sys
from contextlib import nullcontext
from lightmeter.nouns.glibc import keep_freed

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        blocks = [bytearray(size << 20) for size in (70, 20, 1)]  # 91 MiB, 23,296 pages
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with keep_freed() if sys.argv[1] == "kept" else nullcontext():
    with keep_freed() if sys.argv[1] == "kept" else nullcontext():
        faults(1)
    print(faults(3))  # the outer context lasts
faults(1)
print(int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_step_has_freed_the_next_one_uses_until_training_is_over() -> None:
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("another C library than glibc")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    (kept, after), (asked, _) = (
        map(int, subprocess.check_output([sys.executable, "-c", STEPS, how], env=plain).split())
        for how in ("kept", "as it is")
    )
    assert kept < 1_000 < 50_000 < asked  # pages that the system had to fill with zeros, of 69,888 in three steps
    assert after < 91  # MiB; the memory went back


def test_elsewhere_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "elsewhere")
    assert give_back() is False and hold_little() is False
    with keep_freed():
        pass

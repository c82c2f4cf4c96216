"""More load than a server can bear, and less for long: `python -m bench.serve.stress BUNDLE overload|soak`.

Capacity is the highest rate at which 99 of 100 requests are answered and 99 of 100 answers come within 100 ms, in one
of two looks of 5 s; it is sought by halving.
"overload" then sends twice as much for a minute: nothing may crash or grow, those who are let in are served as fast as
before (p99 at most twice that without load), and the others are refused within 50 ms. "soak" sends 70 % of it for ten
minutes: neither memory nor open files may grow. Load comes from a process of its own and waits for no answer.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.serve.process import Server, free_port, lightmeter, serving
from bench.serve.record import keep
from lightmeter.serving.load import Level, level, sample

DEADLINE = 100.0  # milliseconds at p99
_LOOK_SECONDS = 5.0
_LOOKS = 2
_GROWTH = 1.10
_LOST = 0.01  # share of the requests that may be refused or fail at a rate that is borne
_REFUSED_WITHIN = 50.0  # milliseconds
_SLOWER = 2.0


def main() -> None:
    """Run it and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("what", choices=["overload", "soak"])
    parser.add_argument("--seconds", type=float, default=0.0, help="60 for overload, 600 for soak")
    asked = parser.parse_args()
    port = free_port()
    with serving(lightmeter(asked.bundle, port), port) as server:
        found = (overload if asked.what == "overload" else soak)(server, asked.seconds)
    keep(asked.what, f"python -m bench.serve.stress BUNDLE {asked.what}", found)
    sys.exit(0 if found["right"] else 1)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: where to, of which content type, and its body."""

    path: str = "/v1/predict"
    kind: str = "application/octet-stream"
    body: bytes = field(default_factory=sample)


def send(url: str, rate: float, seconds: float, ask: Ask | None = None) -> Level:
    """Load from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_level, (url, ask or Ask(), rate, seconds))


def _level(url: str, ask: Ask, rate: float, seconds: float) -> Level:
    return asyncio.run(level(url, ask.body, rate, seconds, path=ask.path, kind=ask.kind))


def capacity(url: str, ask: Ask | None = None, *, first: float = 8.0) -> tuple[float, list[Level]]:
    """The highest rate that is borne in one of two looks, and all levels that were tried; `first` is where to begin.

    Of two, as one request of a hundred decides, and a machine that others use, too, stands still for so long at times.
    """
    tried: list[Level] = []

    def borne(rate: float) -> bool:
        for _ in range(_LOOKS):
            tried.append(send(url, rate, _LOOK_SECONDS, ask))
            one = tried[-1]
            if one.answered > 0 and one.p99 <= DEADLINE and one.shed + one.failed <= _LOST:
                return True
        return False

    low, high = 0.0, first
    while borne(high):
        low, high = high, 2 * high
    while high > 1.08 * low and high > 1:
        middle = (low + high) / 2
        low, high = (middle, high) if borne(middle) else (low, middle)
    return low, tried


def overload(server: Server, seconds: float) -> dict[str, Any]:
    """Twice the capacity for a minute."""
    most, tried = capacity(server.url)
    alone = send(server.url, max(5.0, 0.1 * most), 4 * _LOOK_SECONDS)
    before = server.memory
    with watching(server) as seen:
        over = send(server.url, 2 * most, seconds or 60.0)
    checks = {
        "alive": server.alive,
        "memory flat": max(seen) <= _GROWTH * before,
        "accepted as fast": over.p99 <= _SLOWER * alone.p99,
        "refused soon": over.refusal_p99 <= _REFUSED_WITHIN,
        "nothing failed": over.failed == 0,
    }
    return {
        "capacity": round(most, 1),
        "tried": [one.document() for one in tried],
        "alone": alone.document(),
        "at twice": over.document(),
        "memory_mib": {"before": round(before, 1), "most": round(max(seen), 1), "after": round(seen[-1], 1)},
        "checks": checks,
        "right": all(checks.values()),
    }


@contextmanager
def watching(server: Server) -> Iterator[list[float]]:
    """A server's memory in MiB, looked at every second while the block lasts, and once at its end."""
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            seen.append(server.memory)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(server.memory)


def soak(server: Server, seconds: float) -> dict[str, Any]:
    """70 % of the capacity for ten minutes, looked at every minute."""
    most, _ = capacity(server.url)
    until = time.monotonic() + (seconds or 600.0)
    levels: list[Level] = []
    memory: list[float] = []
    files: list[int] = []
    while time.monotonic() < until:
        levels.append(send(server.url, 0.7 * most, min(60.0, max(1.0, until - time.monotonic()))))
        memory.append(server.memory)
        files.append(server.files)
    checks = {
        "alive": server.alive,
        "memory flat": memory[-1] <= _GROWTH * memory[0],
        "files flat": files[-1] <= files[0] + 2,
        "nothing failed": all(one.failed == 0 for one in levels),
    }
    return {
        "capacity": round(most, 1),
        "rate": round(0.7 * most, 1),
        "levels": [one.document() for one in levels],
        "memory_mib": [round(value, 1) for value in memory],
        "open_files": files,
        "checks": checks,
        "right": all(checks.values()),
    }


if __name__ == "__main__":
    main()

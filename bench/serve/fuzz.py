"""Send a server damaged pictures: `python -m bench.serve.fuzz BUNDLE [--count 20000] [--seed 0]`.

It must answer each with 200 or with an error of the client's (4xx), and go on; its memory and open files must not
grow. The record below `records/` counts the answers by code; the exit status is 1 where anything else happened.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.serve.mutants import mutate, seeds
from bench.serve.process import Server, free_port, lightmeter, serving
from bench.serve.record import keep

_AT_ONCE = 8
_PARTS = 4
_AGAIN = 0.05  # seconds after which a picture that was turned away is sent again
_REST = 12.0  # seconds, in which a server at rest has given back what it can
_GROWTH = 1.10  # the most that memory may grow from the first part's end on


def main() -> None:
    """Run it and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    port = free_port()
    with serving(lightmeter(asked.bundle, port), port) as server:
        found = asyncio.run(fuzz(server, asked.count, asked.seed))
    keep("fuzz", f"python -m bench.serve.fuzz BUNDLE --count {asked.count} --seed {asked.seed}", found)
    sys.exit(0 if found["right"] else 1)


async def _ask(client: httpx.AsyncClient, data: bytes) -> httpx.Response:
    return await client.post("/v1/predict", content=data, headers={"Content-Type": "image/jpeg"})


async def fuzz(server: Server, count: int, seed: int) -> dict[str, Any]:
    """Send so many, in quarters with a rest after each, in which memory and files are looked at."""
    whole = list(seeds().values())
    answers: Counter[str] = Counter()
    wrong: list[str] = []
    memory: list[float] = []
    files: list[int] = []
    began = time.monotonic()

    async def send(client: httpx.AsyncClient, numbers: Iterator[int]) -> None:
        for number in numbers:
            draw = random.Random(f"{seed},{number}")
            data = mutate(draw.choice(whole), draw.choice(whole), draw)
            try:
                while (answer := await _ask(client, data)).status_code == 429:  # a picture counts once it was looked at
                    await asyncio.sleep(_AGAIN)
            except httpx.HTTPError as error:
                answers[type(error).__name__] += 1
                wrong.append(f"picture {number}: {type(error).__name__}")
                continue
            code = "" if answer.status_code == 200 else f" {answer.json().get('code', 'without a code')}"
            answers[f"{answer.status_code}{code}"] += 1
            if answer.status_code != 200 and not 400 <= answer.status_code < 500:
                wrong.append(f"picture {number}: {answer.status_code}")

    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        for part in range(_PARTS):
            numbers = iter(range(count * part // _PARTS, count * (part + 1) // _PARTS))
            await asyncio.gather(*(send(client, numbers) for _ in range(_AT_ONCE)))
            await asyncio.sleep(_REST)
            memory.append(server.memory)
            files.append(server.files)
    flat = memory[-1] <= _GROWTH * memory[0] and files[-1] <= files[0]
    return {
        "pictures": count,
        "seconds": round(time.monotonic() - began, 1),
        "answers": dict(sorted(answers.items())),
        "wrong": wrong[:20],
        "memory_mib": [round(value, 1) for value in memory],
        "open_files": files,
        "alive": server.alive,
        "right": not wrong and flat and server.alive,
    }


if __name__ == "__main__":
    main()

"""Load for a server, arriving as it pleases: how long answers take at each rate, and from which rate on it sheds.

Arrivals do not wait for answers, as those of people do not: a server that falls behind is not spared the requests that
come meanwhile, and a latency counts from when the request was due.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from lightmeter.errors import ServerError, UsageError

_MOST_OPEN = 512  # connections
_TIMEOUT = 30.0
_SHED = 0.01  # share of refusals from which a server is said to shed


@dataclass(frozen=True, slots=True)
class Level:
    """What happened at one rate.

    Attributes:
        rate: requests a second that were sent, on average.
        answered: of them with 200, a second.
        shed: share that was refused with 429 or 503.
        failed: share that got anything else, or nothing.
        failure: what the first of those got; "" without any.
        p50, p95, p99, longest: milliseconds of those with 200, from when they were due.
        refusal_p99: milliseconds of those that were refused.
    """

    rate: float
    answered: float
    shed: float
    failed: float
    p50: float
    p95: float
    p99: float
    longest: float
    refusal_p99: float
    failure: str = ""

    def document(self) -> dict[str, Any]:
        """As plain JSON values, rounded."""
        return {name: value if isinstance(value, str) else round(value, 4) for name, value in asdict(self).items()}


@dataclass(slots=True)
class _Seen:
    right: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: int = 0
    failure: str = ""

    def fail(self, why: str) -> None:
        self.failed += 1
        self.failure = self.failure or why


def sample(side: int = 256) -> bytes:
    """A JPEG of blurred noise, about 10 KB at 256 pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
    return stream.getvalue()


async def level(
    address: str,
    body: bytes,
    rate: float,
    seconds: float,
    *,
    key: str = "",
    seed: int = 0,
    path: str = "/v1/predict",
    kind: str = "application/octet-stream",
) -> Level:
    """Send a picture `rate` times a second on average, for so many seconds, at random times.

    Args:
        path, kind: where to, and the content type, for a server of another make.

    Raises:
        UsageError: no such address.
    """
    place = urlsplit(address)
    if place.scheme != "http" or not place.hostname:
        raise UsageError(f"{address!r} is no address that can be loaded.", "http://HOST:PORT")
    head = (
        f"POST {place.path.rstrip('/')}{path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        + (f"Authorization: Bearer {key}\r\n" if key else "")
        + "\r\n"
    )
    request = head.encode() + body
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    seen, gate = _Seen(), asyncio.Semaphore(_MOST_OPEN)

    async def one(due: float) -> None:
        async with gate:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    status = await _exchange(place.hostname or "", place.port or 80, request, idle)
            except TimeoutError:
                seen.fail(f"no answer within {_TIMEOUT:g} s")
                return
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                seen.fail(getattr(error, "strerror", "") or f"no whole answer ({type(error).__name__})")
                return
        took = 1000 * (time.perf_counter() - due)
        if status == 200:
            seen.right.append(took)
        elif status in (429, 503):
            seen.refused.append(took)
        else:
            seen.fail(f"status {status}" + (", it wants a key" if status == 401 else ""))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as under_way:
        for at in _arrivals(rate, seconds, seed):
            # One after another: to begin with a task for each would hold up the first by as long as that takes.
            await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
            under_way.create_task(one(began + at))
    for _, writer in idle:
        writer.close()
    count = len(seen.right) + len(seen.refused) + seen.failed
    p50, p95, p99, longest = np.quantile(seen.right, [0.5, 0.95, 0.99, 1]) if seen.right else (0.0,) * 4
    refusal = float(np.quantile(seen.refused, 0.99)) if seen.refused else 0.0
    each = 1 / max(1, count)
    return Level(
        rate,
        len(seen.right) / seconds,
        len(seen.refused) * each,
        seen.failed * each,
        float(p50),
        float(p95),
        float(p99),
        float(longest),
        refusal,
        seen.failure,
    )


def some_answered(address: str, found: Level) -> Level:
    """The level itself. Raises ServerError where not one request was answered or refused for want of room."""
    if not found.answered and not found.shed:
        raise ServerError(
            f"{address} answers none of {found.rate:g} requests a second: {found.failure or 'none came due'}."
        )
    return found


def climb(
    address: str, body: bytes, *, seconds: float, first: float = 5.0, key: str = "", tell: Callable[[Level], None]
) -> list[Level]:
    """Double the rate until the server sheds or fails.

    Raises:
        ServerError: it answers nothing at the first rate.
    """
    found: list[Level] = []
    rate = first
    while not found or (found[-1].shed < _SHED and found[-1].failed < _SHED and rate < 1e5):
        found.append(asyncio.run(level(address, body, rate, seconds, key=key, seed=len(found))))
        some_answered(address, found[0])
        tell(found[-1])
        rate *= 2
    return found


def shedding_point(levels: list[Level]) -> float | None:
    """The lowest rate at which requests were refused; None where none were."""
    return next((one.rate for one in levels if one.shed >= _SHED), None)


def _arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Times in 0..seconds, with exponential gaps between them."""
    drawn = random.Random(seed)
    at = drawn.expovariate(rate)
    while at < seconds:
        yield at
        at += drawn.expovariate(rate)


async def _exchange(
    host: str, port: int, request: bytes, idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
) -> int:
    """Send a request over a kept or a new connection; the answer's status."""
    if idle:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # a server may have let it go meanwhile
            return await _over(idle.pop(), request, idle)
    return await _over(await asyncio.open_connection(host, port), request, idle)


async def _over(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    request: bytes,
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
) -> int:
    reader, writer = connection
    try:
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        told = {name: value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])}
        if told.get("transfer-encoding") == "chunked":
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                await reader.readexactly(size + 2)
            await reader.readuntil(b"\r\n")
        else:
            await reader.readexactly(int(told.get("content-length", "0")))
    except BaseException:
        writer.close()
        raise
    if told.get("connection") == "close":
        writer.close()
    else:
        idle.append((reader, writer))
    return int(head.split(" ", 2)[1])

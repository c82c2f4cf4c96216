from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import httpx
import pytest

from lightmeter.nouns.bundle import Bundle
from lightmeter.serving.app import create_app
from lightmeter.serving.limits import Deadline, Gate, Limits
from lightmeter.serving.problems import Problem
from tests.bundles import picture
from tests.serving.clients import shelf


def test_a_gate_has_as_many_places_as_it_says() -> None:
    gate = Gate(Limits(workers=1, waiting=1, retry_seconds=3))
    with gate.enter(), gate.enter():
        assert gate.inside == 2
        with pytest.raises(Problem) as caught, gate.enter():
            pass
        assert caught.value.status == 429
        assert caught.value.headers == {"Retry-After": "3"}
    assert gate.inside == 0


def test_a_burst_may_wait_but_a_queue_that_stands_may_not() -> None:
    now = 100.0
    limits = Limits(workers=2, waiting=16, standing_seconds=0.15, calm_seconds=1.0)
    gate = Gate(limits, clock=lambda: now)

    def refused() -> bool:
        try:
            with gate.enter():
                return False
        except Problem:
            return True

    assert gate.room == 18
    with ExitStack() as inside:
        for _ in range(4):
            inside.enter_context(gate.enter())
        now += 0.1
        assert gate.room == 18  # it may still be a burst
        now += 0.1
        assert gate.room == 2
        assert refused()
        now += 60.0
        assert gate.room == 2  # it stands
        assert refused()
    now += 0.5
    assert gate.room == 2  # somebody was turned away a moment ago
    now += 0.6
    assert gate.room == 18
    assert Gate(Limits(workers=2, waiting=0)).room == 2


def test_a_place_is_given_back_when_its_holder_fails() -> None:
    gate = Gate(Limits(workers=1, waiting=0))
    with pytest.raises(ValueError, match="x"), gate.enter():
        raise ValueError("x")
    assert gate.inside == 0


def test_limits_that_make_no_sense_are_a_bug() -> None:
    with pytest.raises(AssertionError):
        Limits(body=0)


def test_a_body_that_dawdles_is_408_and_gives_its_place_back(bundle: Bundle) -> None:
    async def dawdle() -> AsyncIterator[bytes]:
        yield picture()[:10]
        await asyncio.sleep(3600)

    async def ask() -> None:
        app = create_app(shelf(bundle), limits=Limits(workers=1, waiting=0, read_seconds=0.05))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            headers = {"Content-Type": "image/jpeg"}
            slow = await client.post("/v1/predict", content=dawdle(), headers=headers)
            assert (slow.status_code, slow.json()["code"]) == (408, "timeout")
            again = await client.post("/v1/predict", content=picture(), headers=headers)
            assert again.status_code == 200

    asyncio.run(ask())


def test_slow_senders_take_no_place_from_those_who_have_sent(bundle: Bundle) -> None:
    async def dawdle() -> AsyncIterator[bytes]:
        yield picture()[:10]
        await asyncio.sleep(3600)

    async def ask() -> None:
        limits = Limits(workers=1, waiting=0, arriving=4, read_seconds=60.0)
        app = create_app(shelf(bundle), limits=limits)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            headers = {"Content-Type": "image/jpeg"}
            slow = [
                asyncio.create_task(client.post("/v1/predict", content=dawdle(), headers=headers)) for _ in range(3)
            ]
            while app.state.engine.gate.arriving < 3:
                await asyncio.sleep(0.01)
            assert (await client.post("/v1/predict", content=picture(), headers=headers)).status_code == 200
            slow.append(asyncio.create_task(client.post("/v1/predict", content=dawdle(), headers=headers)))
            while app.state.engine.gate.arriving < 4:
                await asyncio.sleep(0.01)
            refused = await client.post("/v1/predict", content=picture(), headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            assert (app.state.engine.gate.arriving, app.state.engine.gate.held) == (0, 0)

    asyncio.run(ask())


def test_the_bytes_of_all_requests_are_counted_until_their_answer() -> None:
    gate = Gate(Limits(held=100))
    with gate.arrive() as one, gate.arrive() as other:
        one(60)
        other(40)
        with pytest.raises(Problem) as caught:
            other(1)
        assert caught.value.status == 429
        assert gate.held == 100
    assert gate.held == 0


def test_a_deadline_is_quiet_until_it_is_over() -> None:
    Deadline(60.0).check()
    with pytest.raises(Problem) as caught:
        Deadline(-1.0).check()
    assert caught.value.status == 504

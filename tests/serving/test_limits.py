from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import ExitStack

import httpx
import pytest

from lightmeter.nouns.bundle import Bundle
from lightmeter.serving.app import create_app
from lightmeter.serving.limits import Deadline, Gate, Limits, turned_away
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


def refused(gate: Gate) -> bool:
    """Whether a request that is answered at once was turned away."""
    try:
        with gate.enter():
            return False
    except Problem:
        return True


def overloaded(gate: Gate) -> None:
    """Fill the queue, and keep it full while many are answered."""
    with ExitStack() as inside:
        for _ in range(gate.room - 1):
            inside.enter_context(gate.enter())
        for _ in range(gate.room):
            with gate.enter():  # the last place, again and again
                assert refused(gate)
        assert refused(gate)


def test_a_burst_may_wait_but_where_more_come_than_can_be_answered_few_may() -> None:
    now = 100.0
    gate = Gate(Limits(workers=2, waiting=16, calm_seconds=1.0), clock=lambda: now)
    assert gate.room == 18
    with ExitStack() as inside:
        for _ in range(17):
            inside.enter_context(gate.enter())
        for _ in range(18):
            assert gate.room == 18  # what the burst brought may yet be answered
            with gate.enter():
                assert refused(gate)
        assert refused(gate) and gate.room == 3
        now += 0.9
        assert [refused(gate) for _ in range(20)] == [True] * 20
        now += 0.2
        assert refused(gate)  # still more than can be answered
        assert gate.room == 3
    assert [refused(gate) for _ in range(19)] == [False] * 19
    now += 0.5
    assert not refused(gate) and gate.room == 3  # not looked at yet
    now += 0.6
    assert not refused(gate) and gate.room == 18  # one of twenty is what so few places turn away at any load
    assert Gate(Limits(workers=2, waiting=0)).room == 2


def test_a_full_queue_that_is_a_quarter_empty_soon_is_no_overload() -> None:
    gate = Gate(Limits(workers=2, waiting=16))
    with ExitStack() as slow, ExitStack() as soon:
        for number in range(18):
            (soon if number < 5 else slow).enter_context(gate.enter())
        assert refused(gate)
        soon.close()
        for _ in range(100):
            assert not refused(gate)
        assert gate.room == 18


def test_few_requests_do_not_end_an_overload_by_chance() -> None:
    now = 0.0
    gate = Gate(Limits(workers=1, waiting=4, calm_seconds=1.0), clock=lambda: now)
    overloaded(gate)
    assert gate.room == 2
    now += 2.0
    assert not refused(gate) and gate.room == 2
    now += 10.0
    assert not refused(gate)
    now += 10.0
    assert not refused(gate) and gate.room == 5  # hardly anybody asks


@pytest.mark.parametrize(
    ("workers", "places", "share"), [(1, 1, 1 / 2), (1, 2, 1 / 3), (2, 3, 2 / 7), (2, 4, 2 / 9), (8, 16, 0.0817)]
)
def test_what_few_places_turn_away_is_known(workers: int, places: int, share: float) -> None:
    assert turned_away(workers, places) == pytest.approx(share, rel=0.01)


def served(
    load: float, count: int, workers: int, *, seconds: float = 0.02, stands_still: float = 0.0
) -> tuple[float, float]:
    """Requests at random times, each of which keeps a worker busy for some seconds: (share refused, p99 in s).

    Args:
        load: requests, as a multiple of those that can be answered.
        count: of requests.
        stands_still: so many times `seconds` all workers do nothing, once in the time of 250 requests each.
    """
    now, draw = 0.0, random.Random(0)
    gate = Gate(Limits(workers=workers, calm_seconds=50 * seconds), clock=lambda: now)
    free, leaving, took, stood = [0.0] * workers, [], [], 0.0
    for _ in range(count):
        now += draw.expovariate(load * workers / seconds)
        while leaving and leaving[0][0] <= now:
            leaving.pop(0)[1].close()
        if now // (250 * seconds) > stood:
            stood, free = now // (250 * seconds), [max(now, until) + stands_still * seconds for until in free]
        place = ExitStack()
        try:
            place.enter_context(gate.enter())
        except Problem:
            continue
        worker = free.index(min(free))
        free[worker] = max(now, free[worker]) + seconds
        took.append(free[worker] - now)
        leaving.append((free[worker], place))
    return 1 - len(took) / count, sorted(took)[int(0.99 * len(took))]


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("load", [0.5, 0.7, 0.8])
def test_what_can_be_answered_is_let_in(load: float, workers: int) -> None:
    """After a burst, too, the gate finds back."""
    assert served(load, 20_000, workers)[0] < 0.01


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seconds", [0.005, 0.2])
def test_a_machine_that_stands_still_for_a_moment_turns_few_away(workers: int, seconds: float) -> None:
    assert served(0.75, 20_000, workers, seconds=seconds, stands_still=18.0)[0] < 0.05


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("load", [2.0, 5.0])
def test_under_overload_all_that_can_be_answered_is_and_at_once(load: float, workers: int) -> None:
    share, p99 = served(load, int(load * 15_000), workers)  # so that the first moments, before it is seen, are few
    assert p99 <= 0.0401  # one that is worked on, one that waits
    assert (1 - share) * load > 0.9


def test_under_overload_alone_requests_are_turned_away_before_they_have_come() -> None:
    now = 100.0
    gate = Gate(Limits(workers=1, waiting=8, calm_seconds=1.0), clock=lambda: now)
    with ExitStack() as inside:
        for _ in range(gate.room):
            inside.enter_context(gate.enter())
        gate.meet()  # a full queue alone may have a place once it has come
    overloaded(gate)
    gate.meet()
    with ExitStack() as inside:
        for _ in range(gate.room):
            inside.enter_context(gate.enter())
        now += 2.0
        for _ in range(30):  # they count as refused: else the overload were over, though most are turned away
            with pytest.raises(Problem) as caught:
                gate.meet()
        assert (caught.value.status, caught.value.code) == (429, "overloaded")
        now += 2.0
        with pytest.raises(Problem):
            gate.meet()
    now += 2.0
    for _ in range(30):
        assert not refused(gate)
    now += 2.0
    assert not refused(gate)
    assert gate._since is None


def test_under_overload_the_body_is_not_read(bundle: Bundle) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("read")
        yield b""

    async def ask() -> None:
        app = create_app(shelf(bundle), limits=Limits(workers=1, waiting=8))
        gate = app.state.engine.gate
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            overloaded(gate)
            with ExitStack() as inside:
                for _ in range(gate.room):
                    inside.enter_context(gate.enter())
                for path in ("/v1/predict", "/v2/models/model/infer"):
                    found = await client.post(path, content=body(), headers={"Content-Type": "image/jpeg"})
                    assert (found.status_code, found.json()["code"]) == (429, "overloaded")
                    assert found.headers["Retry-After"] == "1"
                    assert ("error" in found.json()) == path.startswith("/v2")
                assert (await client.get("/v1/models")).status_code == 200
            answered = await client.post("/v1/predict", content=picture(), headers={"Content-Type": "image/jpeg"})
            assert answered.status_code == 200

    asyncio.run(ask())


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

"""Several bundles: asked by name, shared out, shadowed, exchanged without a gap, and kept where the new one fails."""

from __future__ import annotations

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import LOGITS, Bundle
from lightmeter.serving.app import create_app
from lightmeter.serving.limits import Limits
from lightmeter.serving.problems import Problem
from lightmeter.serving.shelf import Served, Shelf
from lightmeter.verbs.export import amend_card
from tests.bundles import picture, reseal
from tests.serving.clients import Client

JPEG = {"Content-Type": "image/jpeg"}
LIMITS = Limits(reload_seconds=0.05)


@pytest.fixture
def pair(bundle: Bundle, tmp_path: Path) -> tuple[Bundle, Bundle]:
    """Two bundles of the same model that say so differently."""
    made = []
    for name, temperature in (("a", 1.7), ("b", 3.0)):
        path = tmp_path / f"{name}.bundle"
        shutil.copytree(bundle.path, path)
        amend_card(path, temperature=temperature)
        made.append(Bundle.open(path))
    return made[0], made[1]


def both(pair: tuple[Bundle, Bundle], **given: Any) -> Shelf:
    return Shelf([Served("a", pair[0], LIMITS), Served("b", pair[1], LIMITS)], **given)


def ask(client: Client, model: str | None = None) -> dict[str, Any]:
    params = {} if model is None else {"model": model}
    answer: dict[str, Any] = client.post("/v1/predict", content=picture(), headers=JPEG, params=params).json()
    return answer


def test_a_request_may_name_its_model_and_the_first_is_the_default(pair: tuple[Bundle, Bundle]) -> None:
    with Client(create_app(both(pair), limits=LIMITS)) as client:
        for name, model in ((None, "a"), ("a", "a"), ("b", "b")):
            answer = ask(client, name)
            assert (answer["model"], answer["bundle"]) == (model, pair["ab".index(model)].seal)
        assert ask(client, "a")["predictions"] != ask(client, "b")["predictions"]
        assert ask(client, "c")["code"] == "no_model"
        assert all(value >= 0 for value in ask(client)["timings"].values())
        assert client.get("/v1/models/b").json()["temperature"] == 3.0


def test_shares_are_kept_over_many_requests(pair: tuple[Bundle, Bundle]) -> None:
    shelf = both(pair, shares={"a": 0.25, "b": 0.75})
    picked = [shelf.pick(None).name for _ in range(2000)]
    assert 400 < picked.count("a") < 600  # five deviations
    assert shelf.pick("a").name == "a"
    shelf.close()


def test_a_shadow_answers_unseen_and_is_counted(pair: tuple[Bundle, Bundle]) -> None:
    with Client(create_app(both(pair, shadows={"b": 1.0}), limits=LIMITS)) as client:
        assert ask(client)["model"] == "a"
        counted = 'lightmeter_shadow_images_total{agrees="yes",model="b"} 1.0'
        deadline = time.monotonic() + 20
        while counted not in client.get("/metrics").text and time.monotonic() < deadline:
            time.sleep(0.01)
        assert counted in client.get("/metrics").text


@pytest.mark.parametrize(
    "given", [{"shares": {"a": 0.5}}, {"shares": {"c": 1.0}}, {"shadows": {"a": 1.5}}, {"shadows": {"c": 0.1}}]
)
def test_shares_that_make_no_sense_are_refused(pair: tuple[Bundle, Bundle], given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        both(pair, **given)
    with pytest.raises(UsageError):
        Shelf([])


def exchanged(path: Path, change: Any) -> None:
    """Put a changed copy of a bundle in its place, as an export does."""
    other = path.with_name("next.bundle")
    shutil.copytree(path, other)
    change(other)
    os.replace(path, path.with_name("previous.bundle"))
    os.replace(other, path)


def test_a_replaced_bundle_is_exchanged_without_a_gap(pair: tuple[Bundle, Bundle]) -> None:
    with Client(create_app(both(pair), limits=LIMITS)) as client:
        before = ask(client)
        exchanged(pair[0].path, lambda path: amend_card(path, temperature=9.0))
        deadline = time.monotonic() + 30
        while (answer := ask(client))["bundle"] == before["bundle"] and time.monotonic() < deadline:
            assert answer["predictions"] == before["predictions"]
        assert answer["bundle"] != before["bundle"]
        assert answer["predictions"][0]["probability"] < before["predictions"][0]["probability"]
        text = client.get("/metrics").text
        assert 'lightmeter_reloads_total{model="a",result="done"} 1.0' in text
        assert before["bundle"] not in text


def test_a_bundle_that_fails_is_not_taken_and_the_old_one_goes_on(pair: tuple[Bundle, Bundle]) -> None:
    def spoil(path: Path) -> None:
        np.save(path / LOGITS, np.load(path / LOGITS) + 1)
        reseal(path)

    with Client(create_app(both(pair), limits=LIMITS)) as client:
        before = ask(client)
        exchanged(pair[0].path, spoil)
        deadline = time.monotonic() + 30
        while not (failure := client.get("/v1/models").json()["models"][0]["failure"]) and time.monotonic() < deadline:
            assert ask(client)["bundle"] == before["bundle"]
        assert "exam failed" in failure
        assert str(pair[0].path) not in failure
        assert ask(client)["predictions"] == before["predictions"]
        assert 'result="refused"' in client.get("/metrics").text


def test_what_was_refused_is_not_loaded_again_before_it_changes(
    pair: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, tries = both(pair), []
    load = Served.load

    def counted(name: str, path: Path, limits: Limits, **how: Any) -> Served:
        tries.append(name)
        return load(name, path, limits, **how)

    monkeypatch.setattr(Served, "load", counted)
    np.save(pair[0].path / LOGITS, np.load(pair[0].path / LOGITS) + 1)
    reseal(pair[0].path)
    assert [shelf.renewed("a", LIMITS) for _ in range(3)] == [None, None, None]
    assert tries == ["a"]
    np.save(pair[0].path / LOGITS, np.load(pair[0].path / LOGITS) - 1)
    reseal(pair[0].path)
    new = shelf.renewed("a", LIMITS)
    assert new is not None
    shelf.exchange(new)
    assert shelf.failures == {}
    shelf.close()


def test_a_bundle_that_is_exchanged_while_it_is_loaded_is_left_for_the_next_look(
    pair: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, opened = both(pair), Bundle.open
    amend_card(pair[0].path, temperature=2.0)

    def exchanged_after(path: Path) -> Bundle:
        found = opened(path)
        monkeypatch.setattr(Bundle, "open", staticmethod(opened))
        amend_card(path, temperature=4.0)
        return found

    monkeypatch.setattr(Bundle, "open", staticmethod(exchanged_after))
    assert shelf.renewed("a", LIMITS) is None
    assert "exchanged while" in shelf.failures["a"]
    new = shelf.renewed("a", LIMITS)
    assert new is not None, shelf.failures
    assert new.bundle.temperature == 4.0
    new.retire()
    shelf.close()


def test_shadows_are_as_few_as_there_are_workers_and_decode_nothing_twice(
    pair: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = both(pair, shadows={"b": 1.0})
    shadow, waiting = shelf.get("b"), []

    def never(make: Any, count: int) -> Any:
        from concurrent.futures import Future

        waiting.append(Future())
        return waiting[-1]

    monkeypatch.setattr(shadow.batcher, "submit_later", never)
    monkeypatch.setattr(shadow, "canvas", None)
    with Client(create_app(shelf, limits=Limits(workers=2, answer_seconds=1.0))) as client:
        assert [ask(client)["model"] for _ in range(5)] == ["a"] * 5
        deadline = time.monotonic() + 20
        counted = 'lightmeter_shadow_failures_total{model="b"} 2.0'
        while counted not in client.get("/metrics").text and time.monotonic() < deadline:
            time.sleep(0.05)
        assert counted in client.get("/metrics").text
    assert len(waiting) == 2


def test_all_bundles_together_decode_no_more_at_once_than_there_are_workers(
    pair: tuple[Bundle, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, lock, inside = both(pair), threading.Lock(), 0

    def slow(data: bytes, *, most: int) -> NDArray[np.uint8]:
        nonlocal inside
        with lock:
            inside += 1
            seen.append(inside)
        time.sleep(0.05)
        with lock:
            inside -= 1
        return np.zeros((24, 24, 3), np.uint8)

    seen: list[int] = []
    for name in "ab":
        monkeypatch.setattr(shelf.get(name), "canvas", slow)
    with Client(create_app(shelf, limits=Limits(workers=1))) as client, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda turn: ask(client, "ab"[turn % 2]), range(6)))
    assert [answer["model"] for answer in answers] == list("ababab")
    assert seen == [1] * 6


def test_one_in_use_is_closed_only_afterwards(pair: tuple[Bundle, Bundle]) -> None:
    served = Served("a", pair[0], LIMITS)
    canvas = served.canvas(picture())[None]
    with served.use():
        served.retire()
        assert served.batcher.submit(canvas).result(10).logits.shape == (1, 5)
    with pytest.raises(RuntimeError, match="closed"):
        served.batcher.submit(canvas)


def test_what_takes_too_long_is_answered_and_leaves_the_queue(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(answer_seconds=0.2)
    shelf = Shelf([Served("model", bundle, limits)])
    served = shelf.get("model")
    waiting: list[Any] = []
    submit_later = served.batcher.submit_later

    def never(make: Any, count: int) -> Any:
        from concurrent.futures import Future

        waiting.append(Future())
        return waiting[-1]

    with Client(create_app(shelf, limits=limits)) as client:
        monkeypatch.setattr(served.batcher, "submit_later", never)
        answer = client.post("/v1/predict", content=picture(), headers=JPEG)
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline")
        assert waiting[0].cancelled()
        monkeypatch.setattr(served.batcher, "submit_later", submit_later)
        assert client.post("/v1/predict", content=picture(), headers=JPEG).status_code == 200


def test_every_request_is_logged_without_what_it_held(bundle: Bundle) -> None:
    told: list[dict[str, Any]] = []
    with Client(create_app(Shelf([Served("model", bundle, LIMITS)]), log=told.append)) as client:
        ask(client)
        client.get("/absent?secret=1")
    assert [(one["method"], one["path"], one["status"]) for one in told] == [
        ("POST", "/v1/predict", 200),
        ("GET", "/absent", 404),
    ]
    assert all(set(one) == {"method", "path", "status", "ms", "key"} for one in told)


def test_an_unknown_name_is_a_problem(pair: tuple[Bundle, Bundle]) -> None:
    shelf = both(pair)
    with pytest.raises(Problem):
        shelf.pick("c")
    shelf.close()

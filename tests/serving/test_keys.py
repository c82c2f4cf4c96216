"""Who may ask, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.serving import keys as module
from lightmeter.serving.app import create_app
from lightmeter.serving.keys import Keys
from lightmeter.serving.problems import Problem
from lightmeter.serving.shell import OPEN
from tests.bundles import picture
from tests.serving.clients import Client, shelf

ONE, OTHER = "0123456789abcdef-one", "0123456789abcdef-other"
JPEG = {"Content-Type": "image/jpeg"}


def test_only_known_keys_are_admitted_in_either_header() -> None:
    keys = Keys({"one": ONE, "other": OTHER})
    assert keys.admit({"authorization": f"Bearer {ONE}"}) == "one"
    assert keys.admit({"authorization": f"bearer  {OTHER} "}) == "other"
    assert keys.admit({"x-api-key": OTHER}) == "other"
    for headers in ({}, {"x-api-key": ""}, {"x-api-key": ONE[:-1]}, {"authorization": f"Basic {ONE}"}):
        with pytest.raises(Problem) as caught:
            keys.admit(headers)
        assert (caught.value.status, caught.value.code) == (401, "unauthorized")


def test_a_key_that_asks_too_often_waits_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    keys = Keys({"one": ONE, "other": OTHER}, per_second=0.5, burst=2)
    for _ in range(2):
        keys.spend("one")
    with pytest.raises(Problem) as caught:
        keys.spend("one")
    assert (caught.value.status, caught.value.code) == (429, "rate_limited")
    assert caught.value.headers == {"Retry-After": "2"}
    keys.spend("other")
    now += 2
    keys.spend("one")
    with pytest.raises(Problem):
        keys.spend("one")


def test_a_request_beyond_the_rate_is_logged_with_its_holder(bundle: Bundle) -> None:
    told: list[dict[str, Any]] = []
    keys = Keys({"one": ONE}, per_second=0.001, burst=1)
    with Client(create_app(shelf(bundle), keys=keys, log=told.append)) as client:
        for status in (200, 429):
            assert client.get("/v1/models", headers={"X-API-Key": ONE}).status_code == status
    assert [(one["status"], one["key"]) for one in told] == [(200, "one"), (429, "one")]


def test_the_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# who\n\none {ONE}\nother   {OTHER}\n")
    assert Keys.read(path).names == ("one", "other")
    assert Keys.read(path).admit({"x-api-key": OTHER}) == "other"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds none"),
        ("# none\n", "holds none"),
        ("one short", "Line 1 of the file of API keys has a key of 5 characters"),
        (f"one {ONE}\none {OTHER}", "Line 2 of the file of API keys has the name of another line"),
        (ONE, "a key of 0 characters"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_told_without_its_secrets(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        Keys.read(path)
    assert said in str(caught.value)
    assert ONE not in str(caught.value)
    with pytest.raises(UsageError, match=r"absent cannot be read \(No such file"):
        Keys.read(tmp_path / "absent")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text"):
        Keys.read(path)


def test_the_server_asks_for_a_key_but_for_probes_and_its_page(bundle: Bundle) -> None:
    with Client(create_app(shelf(bundle), keys=Keys({"one": ONE}))) as client:
        for path in OPEN:
            assert client.get(path).status_code < 400
        for path in ("/v1/models", "/metrics", "/openapi.json"):
            refused = client.get(path)
            assert refused.status_code == 401
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert refused.headers["x-content-type-options"] == "nosniff"
        assert client.post("/v1/predict", content=picture(), headers=JPEG).status_code == 401
        given = client.post("/v1/predict", content=picture(), headers={**JPEG, "Authorization": f"Bearer {ONE}"})
        assert given.status_code == 200


def test_without_a_key_nothing_is_told_of_what_is_served(bundle: Bundle) -> None:
    with Client(create_app(shelf(bundle), keys=Keys({"one": ONE}))) as client:
        for path in OPEN:
            answer = client.get(path)
            assert answer.status_code == 200
            assert bundle.version not in answer.text
        assert bundle.classes[0] not in client.get("/docs").text.partition("<h2>")[0]
        refused = client.get("/v2/models/model")
        assert (refused.status_code, refused.json()["error"]) == (401, "Send a known key.")

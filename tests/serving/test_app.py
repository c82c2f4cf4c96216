from __future__ import annotations

import base64
import gc
import io
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.serve.mutants import mutate, seeds
from lightmeter.errors import BundleError, ExamError
from lightmeter.nouns.bundle import CARD, Bundle, write_card
from lightmeter.serving import engine as module
from lightmeter.serving.app import create_app
from lightmeter.serving.limits import Limits
from lightmeter.serving.problems import CODES, Problem
from lightmeter.verbs.predict import predict
from tests.bundles import CLASSES, picture, with_examples
from tests.serving.clients import Client, shelf

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def client(bundle: Bundle) -> Iterator[Client]:
    with Client(create_app(shelf(bundle))) as client:
        yield client


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem document of this kind, without any path, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"/docs#{code}"
    assert code in CODES
    assert "/tmp" not in response.text
    assert "Traceback" not in response.text
    return document


def test_a_picture_as_the_body_gets_what_predict_says(client: Client, bundle: Bundle, tmp_path: Path) -> None:
    for turn in range(1, 9):
        data = picture(turn, (40 + turn, 77), turn=turn)
        (tmp_path / "x.jpg").write_bytes(data)
        (expected,) = predict(bundle, [tmp_path / "x.jpg"])
        answer = client.post("/v1/predict", content=data, headers=JPEG).json()
        assert answer["bundle"] == bundle.seal
        (given,) = answer["predictions"]
        assert given.keys() == expected.document().keys()
        assert (given["file"], given["label"], given["abstain"]) == ("body", expected.label, expected.abstain)
        np.testing.assert_allclose([p for _, p in given["top"]], [p for _, p in expected.top], atol=1e-6)


def test_several_files_are_answered_in_order(client: Client) -> None:
    files = [("file", (f"../{n}.jpg", picture(n), "image/jpeg")) for n in range(5)]
    answers = client.post("/v1/predict?topk=2", files=files).json()["predictions"]
    assert [answer["file"] for answer in answers] == [f"{n}.jpg" for n in range(5)]
    assert all(len(answer["top"]) == 2 for answer in answers)
    for n, answer in enumerate(answers):
        alone = client.post("/v1/predict", content=picture(n), headers=JPEG).json()["predictions"][0]
        assert abs(answer["probability"] - alone["probability"]) < 1e-6


def test_bytes_say_what_a_picture_is(client: Client) -> None:
    wrong = client.post("/v1/predict", content=picture(kind="PNG"), headers=JPEG)
    assert wrong.status_code == 200
    assert (
        client.post("/v1/predict", content=picture(), headers={"Content-Type": "image/x-anything"}).status_code == 200
    )
    assert client.post("/v1/predict", content=picture()).status_code == 200


@pytest.mark.parametrize("declared", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
def test_other_declared_types_are_refused(client: Client, declared: str) -> None:
    answer = client.post("/v1/predict", content=b"{}", headers={"Content-Type": declared})
    problem(answer, 415, "unsupported_type")
    assert declared in answer.json()["detail"]


@pytest.mark.parametrize("data", [b"no picture at all", b"%PDF-1.7 ...", b"....ftypheic....", b"PK\x03\x04zip"])
def test_bytes_that_are_no_picture_are_415(client: Client, data: bytes) -> None:
    problem(client.post("/v1/predict", content=data, headers=JPEG), 415, "unsupported_type")


@pytest.mark.parametrize(
    "data",
    [
        picture()[:400],
        b"\xff\xd8\xff\xe0 broken",
        b"P6 60000 60000 255\n",  # 3.6 thousand million pixels, promised in 18 bytes
    ],
)
def test_pictures_that_cannot_be_decoded_are_422(client: Client, data: bytes) -> None:
    document = problem(client.post("/v1/predict", content=data, headers=JPEG), 422, "undecodable")
    assert [error["file"] for error in document["errors"]] == ["body"]


def test_one_bad_file_refuses_the_request_and_is_named(client: Client) -> None:
    files = [("file", (f"{n}.jpg", picture(n) if n != 2 else picture(n)[:300], "image/jpeg")) for n in range(4)]
    document = problem(client.post("/v1/predict", files=files), 422, "undecodable")
    assert [error["file"] for error in document["errors"]] == ["2.jpg"]
    assert "1 of 4" in document["detail"]


def test_bad_files_of_a_request_that_is_run_in_parts_are_all_named(client: Client) -> None:
    bad = {0, 7, 10}
    files = [("file", (f"{n}.jpg", picture(n) if n not in bad else picture(n)[:300], "image/jpeg")) for n in range(11)]
    document = problem(client.post("/v1/predict", files=files), 422, "undecodable")
    assert [error["file"] for error in document["errors"]] == ["0.jpg", "7.jpg", "10.jpg"]
    assert "3 of 11" in document["detail"]


def test_an_empty_file_among_others_is_named_not_passed_over(client: Client) -> None:
    files = [("file", ("a.jpg", picture(), "image/jpeg")), ("file", ("b.jpg", b"", "image/jpeg"))]
    document = problem(client.post("/v1/predict", files=files), 422, "undecodable")
    assert [error["file"] for error in document["errors"]] == ["b.jpg"]


def test_refused_pictures_do_not_stay_in_memory_until_the_collector_comes(client: Client) -> None:
    client.post("/v1/predict", content=b"no picture", headers=JPEG)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            problem(client.post("/v1/predict", content=b"no picture", headers=JPEG), 415, "unsupported_type")
        gc.collect()
        assert not [found for found in gc.garbage if isinstance(found, Problem)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_an_answer_is_explained_where_that_is_asked(client: Client, bundle: Bundle) -> None:
    plain = client.post("/v1/predict", content=picture(), headers=JPEG).json()["predictions"][0]
    (answer,) = client.post("/v1/predict?explain=true", content=picture(), headers=JPEG).json()["predictions"]
    explanation = answer.pop("explanation")
    assert answer == plain
    assert explanation["label"] == plain["label"]
    assert explanation["method"] in ("class activation map", "occlusion")
    with Image.open(io.BytesIO(base64.b64decode(explanation["heat_png"]))) as heat:
        assert (heat.format, heat.mode, heat.size) == ("PNG", "L", (24, 24))
    many = [("file", (f"{n}.jpg", picture(n), "image/jpeg")) for n in range(5)]
    problem(client.post("/v1/predict?explain=true", files=many), 422, "bad_parameter")
    problem(client.post("/v1/predict?explain=maybe", content=picture(), headers=JPEG), 422, "bad_parameter")


def test_the_nearest_training_pictures_come_where_the_model_carries_some(
    client: Client, tmp_path_factory: pytest.TempPathFactory
) -> None:
    problem(client.post("/v1/predict?neighbours=2", content=picture(), headers=JPEG), 422, "no_examples")
    assert client.get("/v1/models/model").json()["examples"] == 0
    with Client(create_app(shelf(with_examples(tmp_path_factory.getbasetemp())))) as other:
        assert other.get("/v1/models/model").json()["examples"] == 7
        plain = other.post("/v1/predict", content=picture(4), headers=JPEG).json()["predictions"][0]
        (answer,) = other.post("/v1/predict?neighbours=3", content=picture(4), headers=JPEG).json()["predictions"]
        neighbours = answer.pop("neighbours")
        assert answer == plain
        assert len(neighbours) == 3
        assert (neighbours[0]["id"], neighbours[0]["label"]) == ("4.jpg", CLASSES[4])
        assert neighbours[0]["similarity"] == pytest.approx(1, abs=1e-2)
        with Image.open(io.BytesIO(base64.b64decode(neighbours[0]["picture_png"]))) as small:
            assert (small.format, small.mode, small.size) == ("PNG", "RGB", (24, 24))
        many = [("file", (f"{n}.jpg", picture(n), "image/jpeg")) for n in range(5)]
        problem(other.post("/v1/predict?neighbours=1", files=many), 422, "bad_parameter")
        problem(other.post("/v1/predict?neighbours=11", content=picture(), headers=JPEG), 422, "bad_parameter")


def test_nothing_sent_is_400(client: Client) -> None:
    problem(client.post("/v1/predict", content=b"", headers=JPEG), 400, "no_image")
    problem(client.post("/v1/predict", files=[("file", ("a.jpg", b"", "image/jpeg"))]), 400, "no_image")
    problem(client.post("/v1/predict", data={"a": "b"}, files={}), 415, "unsupported_type")
    broken = {"Content-Type": "multipart/form-data"}
    problem(client.post("/v1/predict", content=b"x", headers=broken), 400, "bad_request")


@pytest.mark.parametrize("topk", ["0", "-1", "1001", "many", ""])
def test_topk_out_of_range_is_told(client: Client, topk: str) -> None:
    answer = client.post("/v1/predict", params={"topk": topk}, content=picture(), headers=JPEG)
    assert "topk" in problem(answer, 422, "bad_parameter")["detail"]


def test_other_addresses_and_methods_are_problems_too(client: Client) -> None:
    problem(client.get("/v1/nothing"), 404, "not_found")
    answer = client.get("/v1/predict")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


def test_more_classes_than_there_are_gives_all_of_them(client: Client) -> None:
    answer = client.post("/v1/predict", params={"topk": 1000}, content=picture(), headers=JPEG).json()
    assert len(answer["predictions"][0]["top"]) == len(CLASSES)


def test_pixels_are_limited_by_what_would_be_decoded(bundle: Bundle) -> None:
    with Client(create_app(shelf(bundle), limits=Limits(pixels=60_000))) as client:
        for kind, side, status in (("PNG", 300, 422), ("PNG", 240, 200), ("JPEG", 900, 200), ("JPEG", 2400, 422)):
            answer = client.post("/v1/predict", content=picture(size=(side, side), kind=kind), headers=JPEG)
            assert answer.status_code == status, (kind, side, answer.text)
        assert "60,000" in answer.json()["detail"]


@pytest.mark.parametrize("batch", [4, 1])
def test_nothing_is_decoded_once_nobody_waits(bundle: Bundle, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    some = shelf(bundle)
    begun, go = [], threading.Event()

    def slow(data: bytes, *, most: int) -> Any:
        begun.append(data)
        assert go.wait(30)
        return np.zeros((24, 24, 3), np.uint8)

    monkeypatch.setattr(some.get("model"), "canvas", slow)
    with Client(create_app(some, limits=Limits(workers=1, batch=batch, answer_seconds=0.3))) as client:
        files = [("file", (f"{n}.jpg", picture(n), "image/jpeg")) for n in range(4)]
        problem(client.post("/v1/predict", files=files), 504, "deadline")
        go.set()
        assert client.post("/v1/predict", content=picture(9), headers=JPEG).status_code == 200
    assert len(begun) == 2  # the one that was under way, and that of the next request


def test_all_parts_of_an_answer_share_its_time(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(served: Any, canvas: Any, label: str, deadline: Any) -> dict[str, str]:
        time.sleep(0.2)
        deadline.check()
        return {}

    monkeypatch.setattr(module, "heat", slow)
    with Client(create_app(shelf(bundle), limits=Limits(answer_seconds=0.5))) as client:
        files = [("file", (f"{n}.jpg", picture(n), "image/jpeg")) for n in range(4)]
        problem(client.post("/v1/predict?explain=true", files=files), 504, "deadline")


def test_explanations_are_few_at_once_and_keep_nobody_else_waiting(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Semaphore(0), threading.Event()

    def slow(*given: Any) -> dict[str, str]:
        begun.release()
        assert go.wait(30)
        return {"label": "ant", "method": "occlusion", "heat_png": ""}

    monkeypatch.setattr(module, "heat", slow)
    limits = Limits(workers=1, explaining=1)
    with Client(create_app(shelf(bundle), limits=limits)) as client, ThreadPoolExecutor(1) as pool:

        def ask(query: str = "") -> Any:
            return client.post(f"/v1/predict{query}", content=picture(), headers=JPEG)

        first = pool.submit(ask, "?explain=true")
        assert begun.acquire(timeout=30)
        assert "\nlightmeter_requests_inside 0.0\n" in client.get("/metrics").text  # it takes no place of others
        problem(ask("?explain=true"), 429, "overloaded")
        assert ask().status_code == 200
        go.set()
        assert first.result().status_code == 200


def test_a_large_body_is_refused_by_its_promise_and_while_it_arrives(bundle: Bundle) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1000
            yield b"\xff" * 1000

    with Client(create_app(shelf(bundle), limits=Limits(body=5000))) as client:
        problem(client.post("/v1/predict", content=b"x" * 5001, headers=JPEG), 413, "too_large")
        problem(client.post("/v1/predict", content=endless(), headers=JPEG), 413, "too_large")
        big = [("file", ("a.jpg", b"x" * 6000, "image/jpeg"))]
        problem(client.post("/v1/predict", files=big), 413, "too_large")
        assert client.post("/v1/predict", content=picture(), headers=JPEG).status_code == 200
        assert "\nlightmeter_requests_inside 0.0\n" in client.get("/metrics").text
    assert sent <= 10_000


def test_too_many_files_are_413(bundle: Bundle) -> None:
    with Client(create_app(shelf(bundle), limits=Limits(images=2))) as client:
        files = [("file", (f"{n}.jpg", picture(), "image/jpeg")) for n in range(3)]
        problem(client.post("/v1/predict", files=files), 413, "too_large")
        assert client.post("/v1/predict", files=files[:2]).status_code == 200


def test_more_than_may_wait_are_turned_away(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    go, begun = threading.Event(), threading.Semaphore(0)
    decode = module.decode

    def slow(*given: Any) -> Any:
        begun.release()
        assert go.wait(30)
        return decode(*given)

    monkeypatch.setattr(module, "decode", slow)
    limits = Limits(workers=1, waiting=1, retry_seconds=7)
    with Client(create_app(shelf(bundle), limits=limits)) as client, ThreadPoolExecutor(2) as pool:

        def ask() -> Any:
            return client.post("/v1/predict", content=picture(), headers=JPEG)

        first = pool.submit(ask)
        assert begun.acquire(timeout=30)
        second = pool.submit(ask)
        while "lightmeter_requests_inside 2.0" not in client.get("/metrics").text:
            pass
        refused = ask()
        problem(refused, 429, "overloaded")
        assert refused.headers["retry-after"] == "7"
        assert client.get("/livez").status_code == 200  # the loop itself is free
        go.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert ask().status_code == 200


def test_a_failure_inside_says_nothing_of_itself(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> Any:
        raise RuntimeError("/tmp/secret/path")

    with Client(create_app(shelf(bundle))) as client:
        with monkeypatch.context() as patch:
            patch.setattr(module, "decode", fail)
            answer = client.post("/v1/predict", content=picture(), headers=JPEG)
        problem(answer, 500, "internal")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.post("/v1/predict", content=picture(), headers=JPEG).status_code == 200


def test_probes_and_card(client: Client, bundle: Bundle) -> None:
    assert client.get("/livez").json() == {"status": "live"}
    assert client.get("/readyz").json() == {"status": "ready"}
    listed = client.get("/v1/models").json()
    assert listed["default"] == "model"
    assert [one["bundle"] for one in listed["models"]] == [bundle.seal]
    problem(client.get("/v1/models/other"), 404, "no_model")
    card = client.get("/v1/models/model").json()
    assert card["classes"] == list(CLASSES)
    assert card["preprocess"]["size"] == 24
    assert not {"path", "files"} & set(card)
    assert "source" not in card["provenance"]


def test_it_is_not_ready_once_it_stops(bundle: Bundle) -> None:
    app = create_app(shelf(bundle))
    with Client(app) as client:
        assert client.get("/readyz").status_code == 200
    with Client(app) as client:
        problem(client.get("/readyz"), 503, "not_ready")
        problem(client.post("/v1/predict", content=picture(), headers=JPEG), 503, "not_ready")


def test_every_answer_has_the_security_headers_and_the_bundle(client: Client, bundle: Bundle) -> None:
    given = client.post("/v1/predict", content=picture(), headers=JPEG)
    assert given.headers["x-lightmeter-bundle"] == bundle.seal
    for answer in (client.get("/livez"), client.get("/absent"), given, client.get("/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get("/docs")
    assert not re.search(r"(src|href|url|action)\s*[=(]\s*['\"]?(https?:)?//", answer.text)
    assert "<script" not in answer.text
    assert all(f'id="{code}"' in answer.text for code in CODES)
    assert "ant, bee, cat" in answer.text


def test_class_names_cannot_write_into_the_page(bundle: Bundle) -> None:
    named = bundle.model_copy(update={"classes": ("<script>alert(1)</script>", *CLASSES[1:])})
    with Client(create_app(shelf(named))) as client:
        assert "<script" not in client.get("/docs").text


def test_the_schema_describes_the_body_and_the_problems(client: Client) -> None:
    document = client.get("/openapi.json").json()
    post = document["paths"]["/v1/predict"]["post"]
    assert set(post["requestBody"]["content"]) == {"image/*", "application/octet-stream", "multipart/form-data"}
    assert {"200", "413", "415", "422", "429", "503"} <= set(post["responses"])
    assert "application/problem+json" in post["responses"]["413"]["content"]


def test_metrics_count_within_fixed_labels(client: Client, bundle: Bundle) -> None:
    client.post("/v1/predict", content=picture(), headers=JPEG)
    client.post("/v1/predict", content=b"x", headers=JPEG)
    for n in range(20):
        client.get(f"/made-up/{n}")
    text = client.get("/metrics").text
    assert 'lightmeter_requests_total{route="/v1/predict",status="200"} 1.0' in text
    assert 'lightmeter_requests_total{route="/v1/predict",status="415"} 1.0' in text
    assert 'lightmeter_requests_total{route="other",status="404"} 20.0' in text
    assert "made-up" not in text
    assert 'lightmeter_images_total{answer="refused"} 1.0' in text
    assert bundle.seal in text


def test_two_servers_in_one_process_count_apart(bundle: Bundle) -> None:
    with Client(create_app(shelf(bundle))) as one, Client(create_app(shelf(bundle))) as other:
        one.post("/v1/predict", content=picture(), headers=JPEG)
        assert 'route="/v1/predict"' in one.get("/metrics").text
        assert 'route="/v1/predict"' not in other.get("/metrics").text


def test_a_bundle_that_fails_its_exam_is_not_served(own_bundle: Path) -> None:
    logits = np.load(own_bundle / "exam/logits.npy")
    np.save(own_bundle / "exam/logits.npy", logits + 0.1)
    with pytest.raises(BundleError):
        Bundle.open(own_bundle)
    document = json.loads((own_bundle / CARD).read_text())
    write_card(own_bundle, {name: v for name, v in document.items() if name not in ("format", "files", "seal")})
    with pytest.raises(ExamError):
        shelf(Bundle.open(own_bundle))


def test_serving_a_request_loads_no_torch(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    program = (
        "import asyncio, httpx, sys; from pathlib import Path\n"
        "from lightmeter.nouns.bundle import Bundle; from lightmeter.serving.app import create_app\n"
        "from lightmeter.serving.limits import Limits; from lightmeter.serving.shelf import Served, Shelf\n"
        f"bundle = Bundle.open(Path({str(bundle.path)!r}))\n"
        "app = create_app(Shelf([Served('model', bundle, Limits())]))\n"
        f"data = Path({str(tmp_path / 'a.jpg')!r}).read_bytes()\n"
        "async def ask():\n"
        "    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url='http://server') as client:\n"
        "        return await client.post('/v1/predict', content=data)\n"
        "answer = asyncio.run(ask())\n"
        "assert answer.status_code == 200\n"
        "assert not {'torch', 'onnx', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_damaged_pictures_are_the_clients_errors(client: Client) -> None:
    whole = list(seeds().values())
    statuses = set()
    for number in range(150):
        draw = random.Random(number)
        data = mutate(draw.choice(whole), draw.choice(whole), draw)
        answer = client.post("/v1/predict", content=data, headers=JPEG)
        statuses.add(answer.status_code)
        if answer.status_code != 200:
            problem(answer, answer.status_code, answer.json()["code"])
    assert statuses == {200, 415, 422}

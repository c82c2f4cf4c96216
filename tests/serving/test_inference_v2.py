"""The Open Inference Protocol: its own words, and a real client of Triton against a real server."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmeter.nouns.bundle import Bundle
from lightmeter.serving.app import create_app
from lightmeter.serving.inference_v2 import LENGTH, OUTPUTS, metadata, parse
from lightmeter.serving.problems import Problem
from lightmeter.verbs.predict import predict
from tests.bundles import CLASSES, picture
from tests.serving.clients import Client, shelf

SIDE = 24


def request(**changes: Any) -> dict[str, Any]:
    encoded = base64.b64encode(picture(1)).decode()
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [encoded], **changes}]}


@pytest.fixture
def client(bundle: Bundle) -> Iterator[Client]:
    with Client(create_app(shelf(bundle))) as client:
        yield client


def test_the_server_and_its_models_describe_themselves(client: Client, bundle: Bundle) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/model/ready"):
        assert client.get(path).status_code == 200
    told = client.get("/v2/models/model").json()
    assert told == metadata("model", bundle)
    assert told["inputs"][1]["shape"] == [-1, SIDE, SIDE, 3]
    assert client.get(f"/v2/models/model/versions/{bundle.version}").json() == told
    for path in ("/v2/models/other", "/v2/models/model/versions/1", "/v2/models/other/ready"):
        assert client.get(path).json()["code"] == "no_model"


def test_a_server_that_is_about_to_stop_says_that_its_models_are_not_ready(bundle: Bundle) -> None:
    app = create_app(shelf(bundle))
    with Client(app) as client:
        app.state.engine.ready = False
        for path in ("/v2/health/ready", "/v2/models/model/ready"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            assert answer.json()["error"]


def test_an_answer_that_is_not_finite_is_no_label(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    some = shelf(bundle)
    batcher = some.get("model").batcher
    monkeypatch.setattr(batcher, "_runner", lambda pixels: np.full((len(pixels), len(CLASSES)), np.nan, np.float32))
    with Client(create_app(some)) as client:
        answer = client.post("/v2/models/model/infer", json=request())
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        (prediction,) = client.post("/v1/predict", content=picture()).json()["predictions"]
        assert (prediction["label"], prediction["abstain"]) == (None, True)


def test_what_fails_unforeseen_is_said_as_its_clients_expect(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(pixels: Any) -> Any:
        raise RuntimeError("/secret/path")

    some = shelf(bundle)
    monkeypatch.setattr(some.get("model").batcher, "_runner", broken)
    with Client(create_app(some)) as client:
        answer = client.post("/v2/models/model/infer", json=request())
        assert (answer.status_code, answer.json()["error"]) == (500, "The server failed.")
        assert "secret" not in answer.text


def test_pictures_in_json_get_what_predict_says(client: Client, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture(1))
    (expected,) = predict(bundle, [tmp_path / "x.jpg"])
    answer = client.post("/v2/models/model/infer", json={**request(), "id": "mine"}).json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("mine", "model", bundle.version)
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert tuple(outputs) == OUTPUTS
    assert outputs["label"]["data"] == [expected.label]
    assert outputs["abstain"] == {"name": "abstain", "datatype": "BOOL", "shape": [1], "data": [expected.abstain]}
    shares = dict(zip(CLASSES, outputs["probabilities"]["data"], strict=True))
    np.testing.assert_allclose([shares[name] for name, _ in expected.top], [p for _, p in expected.top], atol=1e-6)


def test_canvases_in_json_and_chosen_outputs(client: Client) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3))
    given = {"name": "pixels", "datatype": "UINT8", "shape": [2, SIDE, SIDE, 3], "data": pixels.tolist()}
    answer = client.post("/v2/models/model/infer", json={"inputs": [given], "outputs": [{"name": "logits"}]}).json()
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"], len(output["data"])) == ("logits", [2, 5], 10)


WRONG = [
    b"no json",
    b"[]",
    b"{}",
    b'{"inputs": []}',
    json.dumps(request(name="other")).encode(),
    json.dumps(request(datatype="FP32")).encode(),
    json.dumps(request(shape=[-1])).encode(),
    json.dumps(request(shape=[])).encode(),
    json.dumps(request(shape=[1, 2])).encode(),
    json.dumps(request(shape="x")).encode(),
    json.dumps(request(data=["*"])).encode(),
    json.dumps(request(data=[1])).encode(),
    json.dumps(request(data=None)).encode(),
    json.dumps(request(parameters={"binary_data_size": 7})).encode(),
    json.dumps({**request(), "outputs": [{"name": "secret"}]}).encode(),
    json.dumps({**request(), "outputs": 3}).encode(),
    json.dumps({**request(), "parameters": [1]}).encode(),
    json.dumps(
        {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [300] * 1728}]}
    ).encode(),
    json.dumps({"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 9, 9, 3], "data": []}]}).encode(),
    json.dumps(
        {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3], "data": [10**400]}]}
    ).encode(),
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_understood_is_400(client: Client, body: bytes) -> None:
    answer = client.post("/v2/models/model/infer", content=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] in ("bad_request", "no_image")


@pytest.mark.parametrize("length", ["x", "-1", "99999999", "1" * 5000, "0" * 5000])
def test_a_wrong_length_of_the_head_is_400(client: Client, length: str) -> None:
    answer = client.post("/v2/models/model/infer", json=request(), headers={LENGTH: length})
    assert answer.status_code == 400


def test_bytes_are_held_against_what_the_head_promises(bundle: Bundle) -> None:
    def asked(tail: bytes, **changes: Any) -> Any:
        head = json.dumps(request(data=None, parameters={"binary_data_size": len(tail)}, **changes)).encode()
        return parse(head + tail, str(len(head)), bundle, most=4, most_json=1000)

    whole = len(b"abc").to_bytes(4, "little") + b"abc"
    assert asked(whole).images == (b"abc",)
    assert asked(whole * 2, shape=[2]).images == (b"abc", b"abc")
    for tail, shape in ((whole[:2], [1]), (whole + b"x", [1]), (b"\xff" * 4, [1]), (whole, [2])):
        with pytest.raises(Problem):
            asked(tail, shape=shape)
    with pytest.raises(Problem) as caught:
        asked(whole * 5, shape=[5])
    assert caught.value.status == 413


def test_json_is_held_to_a_limit_of_its_own(bundle: Bundle) -> None:
    head = json.dumps(request(data=None, parameters={"binary_data_size": 7})).encode()
    tail = (3).to_bytes(4, "little") + b"abc"
    assert parse(head + tail, str(len(head)), bundle, most=4, most_json=len(head)).images == (b"abc",)
    for length in (str(len(head)), None):
        with pytest.raises(Problem, match="binary") as caught:
            parse(head + tail, length, bundle, most=4, most_json=len(head) - 1)
        assert caught.value.status == 413


def test_pictures_that_cannot_be_read_are_told_as_elsewhere(client: Client) -> None:
    text = base64.b64encode(b"no picture").decode()
    assert client.post("/v2/models/model/infer", json=request(data=[text])).json()["code"] == "unsupported_type"


PROGRAM = """
import sys
from pathlib import Path
from lightmeter.nouns.progress import Silent
from lightmeter.verbs.serve import serve

class Shown(Silent):
    def say(self, text):
        print(text, flush=True)

serve("model=" + sys.argv[1], port=0, log=False, progress=Shown())
"""


def test_a_client_of_triton_is_served(bundle: Bundle, tmp_path: Path) -> None:
    http = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    (tmp_path / "x.jpg").write_bytes(picture(1))
    (expected,) = predict(bundle, [tmp_path / "x.jpg"])
    command = [sys.executable, "-c", PROGRAM, str(bundle.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2].rstrip(",").removeprefix("http://")
        try:
            client = http.InferenceServerClient(address)
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("model")
            assert client.get_server_metadata()["name"] == "lightmeter"
            assert client.get_model_metadata("model")["outputs"][0]["name"] == "probabilities"
            image = http.InferInput("image", [1], "BYTES")
            image.set_data_from_numpy(np.array([picture(1)], dtype=object), binary_data=True)
            wanted = [http.InferRequestedOutput(name, binary_data=name != "logits") for name in OUTPUTS]
            found = client.infer("model", [image], outputs=wanted, request_id="7")
            assert found.as_numpy("label").tolist() == [str(expected.label).encode()]
            shares = dict(zip(CLASSES, found.as_numpy("probabilities")[0], strict=True))
            np.testing.assert_allclose(
                [shares[name] for name, _ in expected.top], [p for _, p in expected.top], atol=1e-6
            )
            assert found.as_numpy("logits").shape == (1, 5)
            pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
            canvases = http.InferInput("pixels", list(pixels.shape), "UINT8")
            canvases.set_data_from_numpy(pixels)
            assert client.infer("model", [canvases]).as_numpy("probabilities").shape == (3, 5)
            with pytest.raises(Exception, match="no such model"):
                client.infer("other", [canvases])
            client.close()
        finally:
            process.terminate()

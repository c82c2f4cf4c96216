from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from lightmeter.errors import BundleError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.verbs.predict import predict
from lightmeter.verbs.serve import named, serve
from tests.bundles import CLASSES, net, picture

PROGRAM = textwrap.dedent("""
    import sys
    from pathlib import Path
    from lightmeter.nouns.progress import Silent
    from lightmeter.serving.limits import Limits
    from lightmeter.verbs.serve import serve

    class Shown(Silent):
        def say(self, text):
            print(text, flush=True)

    limits = Limits(read_seconds=float(sys.argv[3]))
    serve(Path(sys.argv[1]), host=sys.argv[2], port=0, limits=limits, log=False, progress=Shown())
    assert "torch" not in sys.modules
    print("ended")
""")


@contextmanager
def started(
    bundle: Bundle, host: str = "127.0.0.1", seconds: float = 30.0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real process and its address."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(bundle.path), host, str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith(f"Serving on http://{host}:"), process.communicate()
            yield process, line.split()[2].rstrip(",")
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[str]:
    """A real process on loopback, ended by SIGTERM; the value is its address."""
    with started(bundle) as (process, address):
        yield address
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=60)
        assert (out.splitlines()[-1], error, process.returncode) == ("ended", "", 0)


def test_served_equals_predicted_equals_trained(server: str, bundle: Bundle, tmp_path: Path) -> None:
    for turn in range(1, 9):
        data = picture(turn, (101 + turn, 67), turn=turn)
        (tmp_path / "x.jpg").write_bytes(data)
        pixels = torch.from_numpy(bundle.preprocess.canvas(data).pixels[None].copy())
        with torch.no_grad():
            trained = torch.softmax(net()(pixels).double() / bundle.temperature, 1)[0].numpy()
        headers = {"Content-Type": "image/jpeg"}
        answer = httpx.post(f"{server}/v1/predict?topk=5", content=data, headers=headers).json()
        served = dict(answer["predictions"][0]["top"])
        predicted = dict(predict(bundle, [tmp_path / "x.jpg"])[0].top)
        np.testing.assert_allclose([served[name] for name in CLASSES], trained, atol=1e-5)
        np.testing.assert_allclose([predicted[name] for name in CLASSES], trained, atol=1e-5)


def test_a_client_that_sends_too_much_is_told_and_let_go(server: str) -> None:
    connection = http.client.HTTPConnection(server.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", "image/jpeg")
    connection.putheader("Content-Length", str(10**12))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.getheader("connection") == "close"
    assert answer.getheader("server") is None
    connection.close()
    assert httpx.get(f"{server}/readyz").status_code == 200


def test_told_to_stop_it_says_so_to_probes_first_and_answers_on(bundle: Bundle) -> None:
    with started(bundle) as (process, address), httpx.Client(base_url=address) as client:
        assert client.get("/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while client.get("/readyz").status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert client.get("/readyz").json()["code"] == "not_ready"
        answer = client.post("/v1/predict", content=picture(), headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 200
        assert process.wait(60) == 0


def test_who_listens_beyond_this_machine_without_keys_is_warned(bundle: Bundle) -> None:
    with started(bundle, host="0.0.0.0") as (process, _):
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert "passed its exam and is answered by" in said[0]
    assert said[1].startswith("Warning: whoever reaches this machine at 0.0.0.0 can try; there are no keys")


def test_who_sends_nothing_is_cut_and_a_head_has_its_limit(bundle: Bundle) -> None:
    with started(bundle, seconds=0.5) as (process, address):
        host, _, port = address.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as silent:
            assert silent.recv(1) == b""
        with socket.create_connection((host, int(port)), timeout=30) as long:
            long.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 20_000)
            assert long.recv(100).startswith(b"HTTP/1.1 400")
        assert httpx.get(f"{address}/livez").status_code == 200
        assert process.poll() is None


def test_a_port_in_use_is_told(bundle: Bundle) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="cannot be listened on"):
            serve(bundle.path, port=taken.getsockname()[1])


def test_ports_and_places_are_checked(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="65535"):
        serve(bundle.path, port=70000)
    with pytest.raises(BundleError):
        serve(tmp_path)


def test_names_come_from_the_caller_the_run_or_the_bundle(tmp_path: Path) -> None:
    run = tmp_path / "cats" / "model.bundle"
    assert named([run, tmp_path / "dogs.bundle", f"birds={run}"]) == {
        "cats": run,
        "dogs": tmp_path / "dogs.bundle",
        "birds": run,
    }
    with pytest.raises(UsageError, match="Two bundles would be called cats"):
        named([run, f"cats={run}"])


def test_a_rate_needs_keys(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="without keys"):
        serve(bundle.path, per_second=2.0)


def test_missing_libraries_are_named_with_their_extra(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"lightmeter\[serve\]"):
        serve(bundle.path)

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lightmeter.errors import BundleError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import RUNNERS, features_of, maps_of, open_runner
from lightmeter.verbs.verify import sit_exam

NAMES = sorted(RUNNERS)


def noise(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_a_runner_passes_the_exam(name: str, bundle: Bundle) -> None:
    assert sit_exam(bundle, open_runner(bundle, threads=1, by=name)).top1_flips == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_runner_takes_any_number_of_pictures_whatever_their_neighbours(name: str, bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1, by=name)
    together = run(noise(9))
    assert together.shape == (9, 5)
    assert together.dtype == np.float32
    alone = np.concatenate([run(noise(9)[row : row + 1]) for row in range(9)])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert run(noise(0)).shape == (0, 5)


@pytest.mark.parametrize("name", NAMES)
def test_a_runner_takes_views_of_larger_arrays(name: str, bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1, by=name)
    np.testing.assert_allclose(run(noise(6)[::2]), run(noise(6)[::2].copy()))


@pytest.mark.parametrize("name", NAMES)
def test_threads_may_share_a_runner(name: str, bundle: Bundle) -> None:
    run = open_runner(bundle, by=name)
    expected = run(noise(3))
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(run, [noise(3)] * 40):
            np.testing.assert_array_equal(answer, expected)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_the_callers_own(name: str, bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1, by=name)
    first = run(noise(2))
    kept = first.copy()
    run(noise(4)[2:])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", NAMES)
def test_runners_agree_on_what_else_a_graph_gives(name: str, bundle: Bundle) -> None:
    runner, plain = open_runner(bundle, threads=1, by=name), open_runner(bundle, threads=1)
    for found, expected in (
        (maps_of(runner, noise(3)), maps_of(plain, noise(3))),
        (features_of(runner, noise(3)), features_of(plain, noise(3))),
    ):
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_that_does_not_fit_its_card_is_refused(name: str, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="gives"):
        open_runner(bundle.model_copy(update={"classes": ("a", "b")}), by=name)


@pytest.mark.parametrize("name", NAMES)
def test_a_runner_never_loads_torch_and_opens_no_connection(name: str, bundle: Bundle) -> None:
    program = (
        "import sys; from pathlib import Path; from lightmeter.nouns.bundle import Bundle\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'): raise SystemExit(event)\n"
        "sys.addaudithook(hook)\n"
        "from lightmeter.runners import open_runner\n"
        f"bundle = Bundle.open(Path({str(bundle.path)!r}))\n"
        f"assert open_runner(bundle, threads=1, by={name!r})(bundle.exam().canvases).shape == (8, 5)\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_connection_would_be_seen() -> None:
    program = (
        "import sys, socket\n"
        "def hook(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'): raise SystemExit(event)\n"
        "sys.addaudithook(hook)\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "socket.connect" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_cannot_read_files_outside_its_bundle(name: str, bundle: Bundle, own_bundle: Path) -> None:
    import onnx

    graph = onnx.load(bundle.path / "model.onnx")
    tensor = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (own_bundle.parent / "secret").write_bytes(tensor.raw_data)
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    (own_bundle / "model.onnx").write_bytes(graph.SerializeToString())
    with pytest.raises(BundleError, match="could not be loaded"):
        open_runner(bundle.model_copy(update={"path": own_bundle}), by=name)

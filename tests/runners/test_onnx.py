from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from lightmeter.errors import BundleError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import open_runner


def other(bundle: Bundle, own_bundle: Path, graph: bytes | onnx.ModelProto) -> Bundle:
    """The bundle with another graph, past the point where its hash would be looked at."""
    data = graph if isinstance(graph, bytes) else graph.SerializeToString()
    (own_bundle / "model.onnx").write_bytes(data)
    return bundle.model_copy(update={"path": own_bundle})


def test_any_number_of_pictures_and_any_neighbours(bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 24, 24, 3), dtype=np.uint8)
    together = run(pixels)
    assert together.shape == (9, 5)
    assert together.dtype == np.float32
    alone = np.concatenate([run(pixels[row : row + 1]) for row in range(9)])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert run(pixels[:0]).shape == (0, 5)


def test_views_of_larger_arrays_are_taken(bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(pixels[::2]), run(pixels[::2].copy()))


def test_threads_may_share_it(bundle: Bundle) -> None:
    run = open_runner(bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    expected = run(pixels)
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(run, [pixels] * 40):
            np.testing.assert_array_equal(answer, expected)


def test_wrong_pixels_are_a_bug(bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1)
    with pytest.raises(AssertionError):
        run(np.zeros((1, 24, 24, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        run(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_kind_of_graph_without_a_runner_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="'abacus'"):
        open_runner(bundle.model_copy(update={"graph": "abacus"}))


def test_bytes_that_are_no_graph_are_refused(bundle: Bundle, own_bundle: Path) -> None:
    with pytest.raises(BundleError, match="could not be loaded"):
        open_runner(other(bundle, own_bundle, b"not a graph"))


def test_a_graph_that_does_not_fit_its_card_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="gives"):
        open_runner(bundle.model_copy(update={"classes": ("a", "b")}))
    smaller = bundle.preprocess.model_copy(update={"size": 16})
    with pytest.raises(BundleError, match="takes"):
        open_runner(bundle.model_copy(update={"preprocess": smaller}))


def test_a_fixed_batch_is_refused(bundle: Bundle, own_bundle: Path) -> None:
    graph = onnx.load(bundle.path / "model.onnx")
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(BundleError, match="takes"):
        open_runner(other(bundle, own_bundle, graph))


def test_a_graph_cannot_read_files_outside_its_bundle(bundle: Bundle, own_bundle: Path) -> None:
    graph = onnx.load(bundle.path / "model.onnx")
    tensor = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    (own_bundle.parent / "secret").write_bytes(tensor.raw_data)
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../secret"), ("offset", "0"), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    with pytest.raises(BundleError, match="could not be loaded"):
        open_runner(other(bundle, own_bundle, graph))

"""What is done to a graph before it is written in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization.shape_inference import quant_pre_process

from lightmeter.exporters.int8 import _normalise_in_filters, quantise
from lightmeter.exporters.onnx import export_onnx
from lightmeter.models import MODELS
from lightmeter.models.views import MultiView


def answers(path: Path, canvases: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"pixels": canvases})[0]
    return found


def prepared(path: Path) -> None:
    """Fold what is folded before a graph is written in 8 bits."""
    quant_pre_process(str(path), str(path), skip_symbolic_shape=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_filters_normalise(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MultiView(MODELS["mobilenet_v2"](4, channels=channels, size=32), 2)
    model.eval()
    path = tmp_path / "model.onnx"
    export_onnx(model, path, size=32, channels=channels)
    canvases = np.random.default_rng(0).integers(0, 256, (5, 32, 32, channels), dtype=np.uint8)
    before = answers(path, canvases)
    prepared(path)
    graph = onnx.load(str(path))
    assert _normalise_in_filters(graph)
    assert "Sub" in {node.op_type for node in graph.graph.node}
    assert "Div" not in {node.op_type for node in graph.graph.node}
    onnx.save(graph, str(path))
    # Nearly: where the first convolution pads there is one grey now, and was the mean of each channel.
    assert np.abs(answers(path, canvases) - before).max() < 0.25 * before.std()


def test_without_padding_the_first_filters_normalise_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    export_onnx(MODELS["whitened"](4, channels=3, size=16, width=0.25), path, size=16, channels=3)
    canvases = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    before = answers(path, canvases)
    prepared(path)
    graph = onnx.load(str(path))
    assert _normalise_in_filters(graph)
    onnx.save(graph, str(path))
    np.testing.assert_allclose(answers(path, canvases), before, atol=1e-4)
    assert not _normalise_in_filters(graph), "it has no such beginning any more"


@pytest.mark.parametrize(("name", "views"), [("mobilenet_v2", 2), ("whitened", 1)])
def test_an_8_bit_graph_takes_bytes_and_answers_like_its_float32(name: str, views: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MultiView(MODELS[name](4, channels=3, size=32), views)
    path, small = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    export_onnx(model.eval(), path, size=32, channels=3)
    canvases = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    quantise(path, canvases, small)
    graph = onnx.load(str(small)).graph
    kinds = {node.op_type for node in graph.node}
    assert not {"Sub", "Cast"} & kinds and "QuantizeLinear" in kinds
    (matrix,) = (node for node in graph.node if node.op_type in ("Gemm", "MatMul"))
    assert matrix.input[1] in {tensor.name for tensor in graph.initializer}, "the last layer is no more in float32"
    expected, found = answers(path, canvases), answers(small, canvases)
    assert found.dtype == np.float32
    error = (found - expected).std() / (expected - expected.mean(axis=0)).std()
    assert error < 0.4  # the weights are drawn, and noise is what they see: trained ones lose far less

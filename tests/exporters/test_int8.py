"""What is done to a graph before it is written in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lightmeter.exporters.int8 import _normalise_by_convolution, quantise
from lightmeter.exporters.onnx import export_onnx
from lightmeter.models import MODELS
from lightmeter.models.views import MultiView


def answers(path: Path, canvases: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"pixels": canvases})[0]
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_normalising_by_a_convolution_is_normalising(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MultiView(MODELS["mobilenet_v2"](4, channels=channels, size=32), 2)
    path = tmp_path / "model.onnx"
    export_onnx(model, path, size=32, channels=channels)
    canvases = np.random.default_rng(0).integers(0, 256, (5, 32, 32, channels), dtype=np.uint8)
    before = answers(path, canvases)
    quantise(path, canvases, tmp_path / "int8.onnx")
    assert not {"Sub", "Div"} & {node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node}
    count = len(onnx.load(str(path)).graph.node)
    _normalise_by_convolution(path)
    after = onnx.load(str(path))
    assert len(after.graph.node) == count - 1
    assert not {"Sub", "Div"} & {node.op_type for node in after.graph.node}
    np.testing.assert_allclose(answers(path, canvases), before, atol=1e-4)
    read = {name for node in after.graph.node for name in node.input}
    assert {tensor.name for tensor in after.graph.initializer} <= read


def test_a_graph_without_that_pattern_stays_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    export_onnx(MODELS["whitened"](4, channels=3, size=16, width=0.25), path, size=16, channels=3)
    _normalise_by_convolution(path)
    once = path.read_bytes()
    _normalise_by_convolution(path)
    assert path.read_bytes() == once

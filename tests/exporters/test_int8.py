"""What is done to a graph before it is written in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from lightmeter.errors import BundleError
from lightmeter.exporters.int8 import _normalise_in_filters, quantise
from lightmeter.exporters.onnx import export_onnx
from lightmeter.exporters.rounding import ALONE, MOST, round_filters
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
    name, grey = _normalise_in_filters(graph)
    assert name and grey == round(float(model.model.get_submodule("features.normalise").mean.mean()))
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
    name, _ = _normalise_in_filters(graph)
    assert name
    onnx.save(graph, str(path))
    np.testing.assert_allclose(answers(path, canvases), before, atol=1e-4)
    assert _normalise_in_filters(graph) == ("", 0), "it has no such beginning any more"


def hold_to_its_weights(path: Path, graph: onnx.GraphProto, canvases: np.ndarray) -> None:
    """In `graph` stand the whole numbers that rounding gave, and the ranges of single pictures on average."""
    prepared(path)
    model = onnx.load(str(path))
    assert _normalise_in_filters(model)[0]
    steps = round_filters(model, canvases)
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    written = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    alone = 0
    for name, step in steps.items():
        whole = written[f"{name}_quantized"]
        assert whole.dtype == np.int8
        np.testing.assert_array_equal(whole, np.rint(before[name] / step[:, None, None, None]))
        apart = whole.shape[0] > 1 and whole.shape[1] == 1
        alone += apart
        assert np.abs(whole.astype(int)).max() == (ALONE if apart else MOST)
    assert bool(alone) == any(node.op_type == "Clip" for node in model.graph.node), "MobileNetV2 alone has any"
    convolved = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    maps = next(name for name in convolved if f"{name}_scale" in written)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(maps))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    seen = [session.run([maps], {"pixels": canvas[None]})[0] for canvas in canvases]  # all views of a canvas
    low, high = (np.mean([extreme(one) for one in seen]) for extreme in (np.min, np.max))
    np.testing.assert_allclose(written[f"{maps}_scale"], (high - low) / 255, rtol=1e-4)


@pytest.mark.parametrize(("name", "views"), [("mobilenet_v2", 2), ("whitened", 1)])
def test_an_8_bit_graph_takes_bytes_and_answers_like_its_float32(
    name: str, views: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    hold_to_its_weights(path, graph, canvases)
    assert not [record for record in caplog.records if record.name == "root"], "advice to its developers"
    expected, found = answers(path, canvases), answers(small, canvases)
    assert found.dtype == np.float32
    error = (found - expected).std() / (expected - expected.mean(axis=0)).std()
    assert error < 0.4  # the weights are drawn, and noise is what they see: trained ones lose far less


def test_a_graph_whose_last_layer_is_its_only_one_is_refused(tmp_path: Path) -> None:
    class One(nn.Module):
        """uint8[N, 4, 4, 3] -> float32[N, 3]."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(48, 3)

        def forward(self, pixels: Tensor) -> Tensor:
            found: Tensor = self.layer(pixels.flatten(1).float())
            return found

    path, small = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    export_onnx(One(), path, size=4, channels=3)
    with pytest.raises(BundleError, match="8 bits"):
        quantise(path, np.zeros((3, 4, 4, 3), np.uint8), small)
    assert not small.exists()

"""Rounding weights together, so that their sums change little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lightmeter.exporters.int8 import quantise
from lightmeter.exporters.onnx import export_onnx
from lightmeter.exporters.rounding import ALONE, MOST, _Convolution, round_filters, rounded


def test_it_is_the_nearest_where_inputs_have_nothing_to_do_with_each_other() -> None:
    weight = np.random.default_rng(0).uniform(-MOST, MOST, (2, 5, 7))
    np.testing.assert_array_equal(rounded(weight, np.stack([np.eye(7)] * 2), MOST), np.rint(weight))


def test_sums_change_less_than_by_rounding_each_weight_to_the_nearest() -> None:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(3, 2000, 4)) @ draw.normal(size=(3, 4, 100)) + 0.1 * draw.normal(size=(3, 2000, 100))
    weight = draw.uniform(-MOST, MOST, (3, 8, 100))
    found = rounded(weight, inputs.transpose(0, 2, 1) @ inputs, MOST)
    assert np.array_equal(found, np.rint(found)) and np.abs(found).max() <= MOST

    def changed(whole: np.ndarray) -> np.ndarray:
        sums: np.ndarray = ((weight - whole) @ inputs.transpose(0, 2, 1)).std(axis=(1, 2))
        return sums

    assert (changed(found) < 0.5 * changed(np.rint(weight))).all()


def test_inputs_that_were_never_seen_are_no_excuse() -> None:
    weight = np.random.default_rng(0).uniform(-MOST, MOST, (1, 2, 3))
    np.testing.assert_array_equal(rounded(weight, np.zeros((1, 3, 3)), MOST), np.rint(weight))


class Net(nn.Module):
    """uint8[N, S, S, C] -> the maps of one convolution, flat."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.convolution(pixels.permute(0, 3, 1, 2).float()).flatten(1)
        return found


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, (1, 3), stride=2, padding=(0, 2), bias=False),
        nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4, bias=False),
        nn.Conv2d(4, 8, 3, dilation=2, groups=2, bias=False),
    ],
)
def test_what_is_seen_is_what_the_convolution_takes(convolution: nn.Conv2d, tmp_path: Path) -> None:
    """Moments times weights, twice, are the sum of the squares of what comes out."""
    canvases = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 4), dtype=np.uint8)
    with torch.no_grad():
        expected = (convolution(torch.from_numpy(canvases).permute(0, 3, 1, 2).float()).double() ** 2).sum((0, 2, 3))
    export_onnx(Net(convolution), tmp_path / "net.onnx", size=8, channels=4)
    graph = onnx.load(str(tmp_path / "net.onnx")).graph
    (node,) = (node for node in graph.node if node.op_type == "Conv")
    seen = _Convolution.of(node, {tensor.name: tensor for tensor in graph.initializer})
    seen.see(np.ascontiguousarray(canvases.transpose(0, 3, 1, 2), np.float32), np.random.default_rng(0))
    found = np.einsum("gfi,gij,gfj->gf", seen.weight, seen.moments, seen.weight).ravel()
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4)


def test_each_filter_gets_a_step_and_stands_on_its_grid(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net(nn.Conv2d(3, 5, 3))
    with torch.no_grad():
        net.convolution.weight[2] = 0
    export_onnx(net, tmp_path / "net.onnx", size=8, channels=3)
    model = onnx.load(str(tmp_path / "net.onnx"))
    canvases = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    ((name, steps),) = round_filters(model, canvases).items()
    (weight,) = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)
    whole = weight / steps[:, None, None, None]
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-3)
    assert steps.shape == (5,) and (steps > 0).all() and not weight[2].any()
    assert np.abs(np.rint(whole)).max() == MOST
    np.testing.assert_allclose(weight, net.convolution.weight.detach(), atol=3 * float(steps.max()))


@pytest.mark.parametrize(
    ("convolution", "most"),
    [
        (nn.Conv2d(4, 4, 3, groups=4), ALONE),
        (nn.Conv2d(4, 8, 3, groups=4), MOST),  # two filters see a channel: read as a matrix
        (nn.Conv2d(4, 4, 1), MOST),
        (nn.Conv2d(1, 4, 3), MOST),
        (nn.Conv2d(1, 1, 3), MOST),
    ],
)
def test_no_two_products_that_are_added_overflow_16_bits(convolution: nn.Conv2d, most: int, tmp_path: Path) -> None:
    channels = convolution.in_channels
    export_onnx(Net(convolution), tmp_path / "net.onnx", size=8, channels=channels)
    model = onnx.load(str(tmp_path / "net.onnx"))
    canvases = np.random.default_rng(0).integers(0, 256, (9, 8, 8, channels), dtype=np.uint8)
    ((name, steps),) = round_filters(model, canvases).items()
    (weight,) = (numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == name)
    assert np.rint(np.abs(weight / steps[:, None, None, None])).max() == most
    assert 2 * 255 * MOST < 2**15


def test_a_graph_without_filters_is_left_as_it_is(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU(), nn.Linear(8, 3))

    class Plain(nn.Module):
        """uint8[N, 4, 4, 3] -> float32[N, 3], by matrices alone."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, pixels: Tensor) -> Tensor:
            found: Tensor = self.net(pixels.float())
            return found

    path, small = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    export_onnx(Plain(), path, size=4, channels=3)
    canvases = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    model = onnx.load(str(path))
    before = model.SerializeToString()
    assert round_filters(model, canvases) == {} and model.SerializeToString() == before
    quantise(path, canvases, small)
    session = onnxruntime.InferenceSession(str(small), providers=["CPUExecutionProvider"])
    assert session.run(None, {"pixels": canvases})[0].shape == (9, 3)

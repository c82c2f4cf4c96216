from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightmeter.errors import BundleError
from lightmeter.exporters.onnx import OPSET, export_onnx, reference_logits
from lightmeter.nouns.bundle import Bundle
from tests.bundles import Net


def canvases(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 24, 24, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def graph(bundle: Bundle) -> onnx.ModelProto:
    return onnx.load(bundle.path / "model.onnx")


def test_it_takes_raw_pixels_in_any_number(graph: onnx.ModelProto) -> None:
    (taken,), (given,) = graph.graph.input, graph.graph.output
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [d.dim_value or d.dim_param for d in taken.type.tensor_type.shape.dim] == ["n", 24, 24, 3]
    assert [d.dim_value or d.dim_param for d in given.type.tensor_type.shape.dim] == ["n", 5]
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", OPSET)]


def test_it_is_one_file_without_notes_about_this_machine(bundle: Bundle, graph: onnx.ModelProto) -> None:
    assert not any(tensor.external_data for tensor in graph.graph.initializer)
    assert not [path for path in bundle.path.iterdir() if path.name.endswith(".data")]
    blob = (bundle.path / "model.onnx").read_bytes()
    assert b"stack_trace" not in blob
    assert str(Path(__file__).parent.parent).encode() not in blob


def test_the_module_is_left_as_it_was_and_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = Net().train()
    module.body[1].eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    filters = list(warnings.filters)
    export_onnx(module, tmp_path / "model.onnx", size=24, channels=3)
    reference_logits(module, canvases(2))
    assert module.training
    assert not module.body[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")


def test_equal_modules_give_equal_files(tmp_path: Path, bundle: Bundle) -> None:
    export_onnx(Net().train(), tmp_path / "model.onnx", size=24, channels=3)
    assert (tmp_path / "model.onnx").read_bytes() == (bundle.path / "model.onnx").read_bytes()


def test_half_precision_and_channels_last_modules_become_float32(tmp_path: Path) -> None:
    module = Net().to(torch.bfloat16, memory_format=torch.channels_last)
    export_onnx(module, tmp_path / "model.onnx", size=24, channels=3)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for n in (1, 2, 5):
        logits = session.run(None, {"pixels": canvases(n)})[0]
        np.testing.assert_allclose(logits, reference_logits(module, canvases(n)), atol=1e-4)


def test_the_reference_is_in_evaluation_mode() -> None:
    pixels = canvases(4)
    expected = Net().eval()(torch.from_numpy(pixels)).detach().numpy()
    np.testing.assert_array_equal(reference_logits(Net().train(), pixels), expected)


class Branching(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        mean = pixels.float().mean()
        return pixels.float().mean((1, 2)) if mean > 3 else pixels.float().sum((1, 2))


def test_a_module_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="could not be written as an ONNX graph: Could not guard on") as caught:
        export_onnx(Branching(), tmp_path / "model.onnx", size=24, channels=3)
    assert "\x1b" not in str(caught.value)
    assert not list(tmp_path.iterdir())

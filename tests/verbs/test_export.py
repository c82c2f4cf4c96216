from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from lightmeter import exporters
from lightmeter.errors import BadImageError, BundleError, ExamError, StorageError
from lightmeter.exporters.onnx import export_onnx
from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.models.views import MultiView
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.verbs import export
from lightmeter.verbs.export import amend_card, write_bundle
from lightmeter.verbs.verify import verify
from tests.bundles import EXAM, Net, card, picture


def test_a_bundle_passes_its_exam_and_opens(tmp_path: Path) -> None:
    result = write_bundle(tmp_path / "a" / "model.bundle", Net(), **card())
    assert result.document().keys() == {"n", "max_abs_diff", "top1_flips"}
    assert (result.n, result.top1_flips) == (8, 0)
    assert result.max_abs_diff <= 1e-3
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["model.bundle"]
    assert Bundle.open(tmp_path / "a" / "model.bundle").temperature == 1.7


def test_weights_are_kept_by_name(bundle: Bundle) -> None:
    weights = load_file(bundle.path / "weights.safetensors")
    expected = Net().state_dict()
    assert set(weights) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(weights[name], tensor.numpy())


class Off(nn.Module):
    """A module whose graph is that of another: what a wrong exporter would make."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.net, self.error = Net(), error

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net(pixels) + self.error * torch.arange(5)


@pytest.mark.parametrize(("error", "says"), [(0.01, "logits differ"), (2e-4, "probabilities differ")])
def test_a_graph_that_answers_otherwise_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: float, says: str
) -> None:
    def wrong(module: Off, path: Path, **sizes: Any) -> None:
        export_onnx(module.net, path, **sizes)

    monkeypatch.setitem(exporters.EXPORTERS, "onnx", wrong)
    with pytest.raises(ExamError, match=says) as caught:
        write_bundle(tmp_path / "model.bundle", Off(error), **card())
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_older_bundle(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(module: Off, path: Path, **sizes: Any) -> None:
        export_onnx(module.net, path, **sizes)

    before = (own_bundle / "bundle.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setitem(exporters.EXPORTERS, "onnx", wrong)
        with pytest.raises(ExamError):
            write_bundle(own_bundle, Off(1.0), **card())
    assert (own_bundle / "bundle.json").read_bytes() == before
    assert [path.name for path in own_bundle.parent.iterdir()] == ["model.bundle"]
    verify(own_bundle)


def test_it_replaces_an_older_bundle_whole(own_bundle: Path) -> None:
    write_bundle(own_bundle, Net(), **card(exam=EXAM[:2], temperature=1.0))
    bundle = Bundle.open(own_bundle)
    assert len(bundle.exam().images) == 2
    assert not bundle.calibrated


def test_views_are_in_the_graph_and_plain_weights_beside_it(tmp_path: Path) -> None:
    module = MultiView(Net(), 2)  # type: ignore[arg-type]
    write_bundle(tmp_path / "model.bundle", module, **card())
    bundle = Bundle.open(tmp_path / "model.bundle")
    assert bundle.views == 2
    assert set(load_file(bundle.path / "weights.safetensors")) == set(Net().state_dict())
    exam = bundle.exam()
    pixels = torch.from_numpy(exam.canvases)
    with torch.no_grad():
        net = Net().eval()
        expected = (net(pixels) + net(pixels.flip(2))) / 2
    np.testing.assert_allclose(exam.logits, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("views", [1, 2, 6])
def test_the_graph_holds_a_network_once_and_its_norms_folded(views: Literal[1, 2, 6], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = MODELS["mobilenet_v2"](5, channels=3, size=32, width=0.25).eval()
    given = card(preprocess=Preprocess(size=32, channels=3))
    write_bundle(tmp_path / "model.bundle", MultiView(net, views).eval(), **given)
    nodes = [node.op_type for node in onnx.load(tmp_path / "model.bundle" / "model.onnx").graph.node]
    assert nodes.count("Conv") == sum(isinstance(part, nn.Conv2d) for part in net.modules())
    assert "BatchNormalization" not in nodes
    assert all(part.inplace for part in net.modules() if isinstance(part, nn.ReLU6))  # the model stays as it was


def test_a_network_that_folding_would_change_too_much_is_exported_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = MODELS["mobilenet_v2"](5, channels=3, size=32, width=0.25).eval()

    def far_off(model: Model, pixels: Tensor) -> Model:
        other = copy.deepcopy(model)
        torch.nn.init.normal_(other.get_submodule(other.head_name)[-1].bias)  # type: ignore[index]
        return other

    monkeypatch.setattr(export, "fused", far_off)
    given = card(preprocess=Preprocess(size=32, channels=3))
    result = write_bundle(tmp_path / "model.bundle", MultiView(net, 2).eval(), **given)
    assert result.n == len(EXAM)


def test_array_items_get_an_ending_by_what_they_hold(tmp_path: Path) -> None:
    ppm = b"P6 24 24 255\n" + bytes(range(192)) * 9
    write_bundle(tmp_path / "b", Net(), **card(exam=[("train/00017", ppm), ("x.JPEG", picture())]))
    items = json.loads((tmp_path / "b/exam/exam.json").read_text())["items"]
    assert items == [
        {"file": "exam/images/000.ppm", "id": "train/00017"},
        {"file": "exam/images/001.jpeg", "id": "x.JPEG"},
    ]
    assert (tmp_path / "b/exam/images/000.ppm").read_bytes() == ppm


def test_a_bad_exam_picture_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BadImageError):
        write_bundle(tmp_path / "b", Net(), **card(exam=[("x.jpg", b"x")]))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_bundle(tmp_path / "file" / "b", Net(), **card())


def test_scores_can_be_written_later(own_bundle: Path) -> None:
    scores = {"val": {"n": 8}, "test": {"n": 9, "accuracy": 0.25}}
    before = Bundle.open(own_bundle)
    amend_card(own_bundle, scores=scores)
    after = Bundle.open(own_bundle)
    assert after.scores == scores
    assert after.seal != before.seal
    assert after.model_copy(update={"scores": before.scores, "seal": before.seal}) == before
    verify(own_bundle)
    (own_bundle / "model.onnx").write_bytes(b"other")
    with pytest.raises(BundleError):
        amend_card(own_bundle, scores=scores)

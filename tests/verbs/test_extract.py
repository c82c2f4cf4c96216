"""Features by PyTorch and by a graph: the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.verbs import extract
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.extract import extractor
from tests.verbs.extracting import GRAPH, model, pixels


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "vgg16"])
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_features_are_the_models_whatever_computes_them(name: str, engine: str, tmp_path: Path) -> None:
    net = model(name)
    way = Execution("cpu", "float32", "contiguous", 4, 1, engine)  # type: ignore[arg-type]
    with extractor(net, way, pixels(2), cache=tmp_path) as computed, torch.no_grad():
        for n in (1, 4, 11):
            torch.testing.assert_close(computed(pixels(n)), net.features(pixels(n)), atol=1e-4, rtol=1e-3)


def test_the_graph_is_kept_for_these_weights_alone_and_made_anew_where_it_is_damaged(tmp_path: Path) -> None:
    net, some = model(), pixels(3)

    def computed() -> Tensor:
        with extractor(net, GRAPH, some, cache=tmp_path) as compute:
            return compute(some)

    first = computed()
    (kept,) = (tmp_path / "graphs").glob("*.onnx")
    written = kept.stat().st_mtime_ns
    assert torch.equal(computed(), first)
    assert kept.stat().st_mtime_ns == written
    kept.write_bytes(b"no graph")
    torch.testing.assert_close(computed(), first)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not name.startswith(net.head_name):
                parameter.mul_(1.1)
    assert not torch.allclose(computed(), first)
    assert len(list((tmp_path / "graphs").glob("*.onnx"))) == 2


def test_a_head_does_not_matter_to_the_kept_graph(tmp_path: Path) -> None:
    net, some = model(), pixels(3)
    for _ in range(2):
        with extractor(net, GRAPH, some, cache=tmp_path) as compute:
            compute(some)
        torch.nn.init.normal_(net.get_submodule(net.head_name)[-1].weight)  # type: ignore[index, arg-type]
    assert len(list((tmp_path / "graphs").glob("*.onnx"))) == 1


@pytest.mark.parametrize(("name", "any_side"), [("mobilenet_v2", True), ("vgg_blocks", False)])
def test_a_graph_serves_other_sides_where_it_computes_the_same_there(name: str, any_side: bool, tmp_path: Path) -> None:
    for side in (32, 48):
        torch.manual_seed(0)
        net = MODELS[name](4, channels=3, size=side, width=0.25).eval()
        some = torch.randint(0, 256, (3, side, side, 3), dtype=torch.uint8)
        with extractor(net, GRAPH, some, cache=tmp_path) as compute, torch.no_grad():
            torch.testing.assert_close(compute(some), net.features(some), atol=1e-4, rtol=1e-3)
    assert len(list((tmp_path / "graphs").glob("*.onnx"))) == (1 if any_side else 2)


def test_two_that_make_one_graph_at_a_time_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, some = model(), pixels(3)
    serves = extract._serves_any_side
    inside: list[Tensor] = []

    def meanwhile(*asked: Any) -> bool:
        if not inside:
            inside.append(some)
            monkeypatch.setattr("os.getpid", lambda: 1)  # another process
            with extractor(net, GRAPH, some, cache=tmp_path) as compute:
                inside.append(compute(some))
        return serves(*asked)

    monkeypatch.setattr(extract, "_serves_any_side", meanwhile)
    with extractor(net, GRAPH, some, cache=tmp_path) as compute:
        assert torch.equal(compute(some), inside[1])
    assert len(list((tmp_path / "graphs").glob("*.onnx"))) == 1


class _OneSide(Model):
    """As some transformers are: what has another side is refused, and not by an error of PyTorch's."""

    def __init__(self) -> None:
        super().__init__(2, channels=3, size=32)
        self.head = torch.nn.Linear(3, 2)

    def features(self, pixels: Tensor) -> Tensor:
        assert pixels.shape[1] == 32, "another side"
        return pixels.float().mean(dim=(1, 2))

    def blocks(self) -> dict[str, torch.nn.Module]:
        return {"head": self.head}


def test_a_network_of_one_side_has_a_graph_of_that_side(tmp_path: Path) -> None:
    net = _OneSide().eval()
    with extractor(net, GRAPH, pixels(3), cache=tmp_path) as compute:
        torch.testing.assert_close(compute(pixels(5)), net.features(pixels(5)))
    (graph,) = (tmp_path / "graphs").glob("*.onnx")
    assert graph.stem.endswith("-32")

"""Which way features are computed: the fastest right one, and a graph is made only where it pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lightmeter.exporters.onnx import export_seconds
from lightmeter.models.base import Model
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.sources import open_source
from lightmeter.verbs import choose_extraction as chosen
from lightmeter.verbs.choose_extraction import Extraction, choose_extraction
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.extract import extractor
from lightmeter.verbs.features import features, mirrored, plain
from lightmeter.verbs.measurement import Measurement
from lightmeter.verbs.pack import pack
from tests.verbs.extracting import GRAPH, Heard, model, pixels


@pytest.mark.parametrize(("seconds", "ways"), [(1e3, 1), (0.1, 3)])
def test_few_pictures_are_computed_before_other_ways_are_tried(seconds: float, ways: int, tmp_path: Path) -> None:
    net = model()
    rate = choose_extraction(net, pixels(8), 1, seconds=1.0, cache=tmp_path).rate
    images = int(rate)  # a second's work
    extraction = choose_extraction(net, pixels(8), images, seconds=seconds, cache=tmp_path)
    assert extraction.execution.engine == "torch"
    found = extraction.measurements
    assert len(found) == 1 if ways == 1 else len(found) >= ways
    assert not (tmp_path / "graphs").exists()


def test_scoring_is_planned_by_plain_float32_or_by_graphs_side_by_side() -> None:
    found = [Measurement("plain", 300.0, 0.0, True), Measurement("better", 900.0, 0.0, True)]
    there = replace(GRAPH, device="cuda")

    def rate(way: Execution, side_by_side: float | None = None) -> float:
        return Extraction(way, found, side_by_side).scoring_rate(model(), pixels(4), 2, seconds=0.1)

    assert rate(GRAPH) == 150.0
    assert rate(GRAPH, 600.0) == 300.0
    assert rate(GRAPH, 200.0) == 100.0  # slower, but it is what will score
    assert rate(there) not in (150.0, 450.0)


def test_the_fastest_way_is_taken_and_computes_the_same_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "seconds_per_call", lambda call, seconds: 1e-9)  # of a graph alone
    net = model()
    execution = choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path).execution
    assert execution.engine == "onnxruntime"
    dataset = open_source("digits")
    packed = pack(dataset, Preprocess(size=32, channels=3), cache=cache_folder())
    rows = np.arange(70)
    found = features(net, packed, rows, execution, {"plain": plain, "mirrored": mirrored}, start="a", cache=tmp_path)
    seen = torch.from_numpy(packed.pixels[rows])
    with torch.no_grad():
        for view, some in zip(found, (seen, seen.flip(2)), strict=True):
            torch.testing.assert_close(view, net.features(some), atol=1e-4, rtol=1e-3)


def test_no_graph_is_made_where_there_is_no_time_to_spare(tmp_path: Path) -> None:
    execution = choose_extraction(model(), pixels(8), 10**9, seconds=0.1, cache=tmp_path, most=1.0).execution
    assert execution.engine == "torch"
    assert not (tmp_path / "graphs").exists()


def test_for_many_pictures_the_graph_is_tried_and_what_was_found_is_said(tmp_path: Path) -> None:
    heard = Heard()
    found = choose_extraction(model(), pixels(8), 10**9, seconds=0.1, cache=tmp_path, progress=heard).measurements
    tried = [one for one in found if "ONNX Runtime" in one.what]
    assert tried
    assert all(one.accepted and one.max_error < 1e-3 for one in tried)
    assert any("by ONNX Runtime" in line for line in heard.lines)


def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "AGREES", -1.0)
    extraction = choose_extraction(model(), pixels(8), 10**9, seconds=0.1, cache=tmp_path)
    assert extraction.execution.engine == "torch"
    assert any("refused" in one.note for one in extraction.measurements if "ONNX Runtime" in one.what)


class _Undrawn(Model):
    """What it computes depends on the pixels, which no graph can say."""

    def __init__(self) -> None:
        super().__init__(2, channels=3, size=32)
        self.head = torch.nn.Linear(3, 2)

    def features(self, pixels: Tensor) -> Tensor:
        mean = pixels.float().mean(dim=(1, 2))
        return mean if float(mean.sum()) > 0 else -mean

    def blocks(self) -> dict[str, torch.nn.Module]:
        return {"head": self.head}


def test_a_network_without_a_graph_is_computed_by_torch(tmp_path: Path) -> None:
    some, heard = pixels(8), Heard()
    execution = choose_extraction(_Undrawn().eval(), some, 10**9, seconds=0.1, cache=tmp_path, progress=heard).execution
    assert execution.engine == "torch"
    assert any("ONNX Runtime" in line and "ONNX graph" in line for line in heard.lines)


def test_what_was_the_best_is_measured_again_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "seconds_per_call", lambda call, seconds: 1e-9)  # of a graph alone
    net, heard = model(), Heard()
    first = choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path)
    again = choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path, progress=heard)
    assert first.execution.engine == again.execution.engine == "onnxruntime"
    assert len(again.measurements) == 3 < len(first.measurements)
    assert len(heard.lines) == len(again.measurements)


def test_what_a_graph_took_to_make_tells_what_an_export_will(tmp_path: Path) -> None:
    net = model()
    extraction = choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path)
    assert extraction.made is not None and extraction.made > 0
    (note,) = (tmp_path / "graphs").glob("*.json")
    note.write_text('{"format": 1, "seconds": 0.5}')
    quick = choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path)
    assert quick.export_seconds(net) == pytest.approx(0.5 + 0.5)
    note.write_text('{"format": 1, "seconds": 1000}')  # a day when the machine stood still
    slow = choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path)
    assert slow.export_seconds(net) == export_seconds(net)
    note.write_text("no note")
    assert choose_extraction(net, pixels(8), 10**9, seconds=0.1, cache=tmp_path).made is None


def test_a_graph_that_is_there_is_tried_for_few_pictures_too(tmp_path: Path) -> None:
    net = model()
    with extractor(net, GRAPH, pixels(3), cache=tmp_path):
        pass
    found = choose_extraction(net, pixels(8), 10**6, seconds=0.1, cache=tmp_path, most=1.0)
    assert found.side_by_side

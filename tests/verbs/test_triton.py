"""A model repository for Triton says what the graph takes and gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lightmeter.errors import BundleError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners.onnx import open_onnx
from lightmeter.verbs.triton import export_triton
from tests.bundles import CLASSES


def test_a_repository_holds_graph_labels_and_shapes(bundle: Bundle, tmp_path: Path) -> None:
    folder = export_triton(bundle.path, tmp_path / "models", name="five")
    assert folder == tmp_path / "models" / "five"
    assert (folder / "1" / "model.onnx").read_bytes() == (bundle.path / "model.onnx").read_bytes()
    assert (folder / "labels.txt").read_text().split() == list(CLASSES)
    config = (folder / "config.pbtxt").read_text()
    assert 'name: "five"' in config
    side, channels = bundle.preprocess.size, bundle.preprocess.channels
    assert f"dims: [ {side}, {side}, {channels} ]" in config
    assert "dims: [ 5 ]" in config
    assert re.search(r"dynamic_batching \{ max_queue_delay_microseconds: \d+ \}", config)
    assert bundle.seal in config
    names = re.findall(r'\{ name: "(\w+)"', config)
    session = open_onnx(bundle, threads=1)
    assert names == [session.taken, *session.given[:1]]


def test_names_and_places_are_checked(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot serve"):
        export_triton(bundle.path, tmp_path, name="../up")
    with pytest.raises(BundleError):
        export_triton(tmp_path, tmp_path / "models")
    export_triton(bundle.path, tmp_path / "models")
    assert len(list((tmp_path / "models").iterdir())) == 1

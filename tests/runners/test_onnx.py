from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lightmeter.errors import BundleError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import open_runner


def other(bundle: Bundle, own_bundle: Path, graph: bytes | onnx.ModelProto) -> Bundle:
    """The bundle with another graph, past the point where its hash would be looked at."""
    data = graph if isinstance(graph, bytes) else graph.SerializeToString()
    (own_bundle / "model.onnx").write_bytes(data)
    return bundle.model_copy(update={"path": own_bundle})


def test_wrong_pixels_are_a_bug(bundle: Bundle) -> None:
    run = open_runner(bundle, threads=1)
    with pytest.raises(AssertionError):
        run(np.zeros((1, 24, 24, 3), np.float32))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        run(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_kind_of_graph_without_a_runner_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="'abacus'"):
        open_runner(bundle.model_copy(update={"graph": "abacus"}))


def test_an_unknown_runner_is_refused_with_those_there_are(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="onnxruntime, openvino"):
        open_runner(bundle, by="abacus")


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

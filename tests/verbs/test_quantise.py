"""A bundle in 8 bits: its own scores, its own exam, and no bundle where it lost too much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightmeter.errors import BundleError, ExamError
from lightmeter.nouns.bundle import GRAPH, Bundle
from lightmeter.nouns.run import Run
from lightmeter.verbs import quantise
from lightmeter.verbs.predict import predict
from lightmeter.verbs.quantise import export_int8
from lightmeter.verbs.train import train
from lightmeter.verbs.verify import verify


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("digits") / "run"
    return Run.open(train("digits", epochs=4.0, settings={"model.width": "0.5"}, out=out).run)


def test_it_is_smaller_scored_as_what_it_is_and_passes_its_exam(run: Run) -> None:
    openings = len(run.ledger.read_text().splitlines())
    made = export_int8(run.path)
    assert made.bundle == run.path / "model-int8.bundle"
    bundle, plain = Bundle.open(made.bundle), Bundle.open(run.bundle)
    assert (bundle.precision, plain.precision) == ("int8", "float32")
    assert (bundle.path / GRAPH).stat().st_size < 0.5 * (plain.path / GRAPH).stat().st_size
    assert bundle.scores["test"] == made.test.summary()
    assert made.test.n == len(run.split.test)
    assert made.drop <= 0.01
    lines = run.ledger.read_text().splitlines()
    assert len(lines) == openings + 1
    assert json.loads(lines[-1])["by"] == "export --int8"
    assert verify(made.bundle).top1_flips == 0
    picture = next((made.bundle / "exam" / "images").iterdir())
    (answer,) = predict(bundle, [picture])
    assert answer.label in bundle.classes


def test_what_loses_too_much_is_not_left_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "_accepted", lambda before, after, n: False)
    with pytest.raises(ExamError, match="In 8 bits the model names"):
        export_int8(run.path, tmp_path / "small.bundle")
    assert not any(tmp_path.iterdir())


def test_a_graph_without_convolutions_and_products_is_refused(tmp_path: Path) -> None:
    import numpy as np

    from lightmeter.exporters.int8 import quantise as to_int8

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="8 bits"):
        to_int8(tmp_path / "model.onnx", np.zeros((1, 8, 8, 1), np.uint8), tmp_path / "out.onnx")

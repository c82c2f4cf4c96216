"""A bundle in 8 bits: its own scores, its own exam, and no bundle where it lost too much."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnxruntime
import pytest

from lightmeter.errors import BundleError, DataError, ExamError, UsageError
from lightmeter.nouns.bundle import GRAPH, Bundle
from lightmeter.nouns.run import Run
from lightmeter.verbs import quantise
from lightmeter.verbs.predict import predict
from lightmeter.verbs.quantise import export_int8
from lightmeter.verbs.train import train
from lightmeter.verbs.verify import verify
from tests.verbs.test_train import digit_folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("digits") / "run"
    return Run.open(train("digits", epochs=4.0, settings={"model.width": "0.5"}, out=out).run)


def test_it_is_smaller_scored_as_what_it_is_and_passes_its_exam(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openings = len(run.ledger.read_text().splitlines())
    monkeypatch.setattr(onnxruntime, "__version__", "1.0 of later")
    made = export_int8(run.path)
    assert made.bundle == run.path / "model-int8.bundle"
    bundle, plain = Bundle.open(made.bundle), Bundle.open(run.bundle)
    assert (bundle.precision, plain.precision) == ("int8", "float32")
    assert (bundle.path / GRAPH).stat().st_size < 0.5 * (plain.path / GRAPH).stat().st_size
    assert bundle.scores["test"] == made.test.summary()
    assert made.test.n == len(run.split.test)
    low, high = made.drop_interval
    assert low <= made.drop <= high and made.drop <= 0.01
    assert bundle.exam().made_with["onnxruntime"] == "1.0 of later" != plain.exam().made_with["onnxruntime"]
    assert bundle.created > plain.created
    lines = run.ledger.read_text().splitlines()
    assert len(lines) == openings + 1
    assert json.loads(lines[-1])["by"] == "export --int8"
    assert verify(made.bundle).top1_flips == 0
    picture = next((made.bundle / "exam" / "images").iterdir())
    (answer,) = predict(bundle, [picture])
    assert answer.label in bundle.classes
    shutil.copytree(run.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model.bundle")
    shutil.copytree(made.bundle, tmp_path / "run" / "model.bundle")
    with pytest.raises(UsageError, match="in int8 already"):
        export_int8(tmp_path / "run")


def test_what_loses_too_much_is_not_left_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "_allowed", lambda n: -1.0)
    with pytest.raises(ExamError, match="In 8 bits the model names"):
        export_int8(run.path, tmp_path / "small.bundle")
    assert not any(tmp_path.iterdir())


def test_a_training_picture_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    folder = digit_folder(tmp_path / "photos")
    run = Run.open(train(str(folder), epochs=0.1, out=tmp_path / "run").run)
    (folder / run.split.train[0]).unlink()
    with pytest.raises(DataError, match=r"Of \d+ pictures 1 cannot be found"):
        export_int8(run.path)
    assert not (run.path / "model-int8.bundle").exists()


def test_one_picture_may_be_lost_where_half_a_point_is_less() -> None:
    assert quantise._allowed(140) > 1 / 140
    assert quantise._allowed(140) < 2 / 140
    assert quantise._allowed(10_000) == 0.005


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    import numpy as np

    from lightmeter.exporters.int8 import quantise as to_int8

    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="8 bits"):
        to_int8(tmp_path / "model.onnx", np.zeros((1, 8, 8, 1), np.uint8), tmp_path / "out.onnx")

"""One file that takes whole pictures and answers as the bundle does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from lightmeter.errors import ExamError
from lightmeter.nouns.bundle import Bundle
from lightmeter.verbs import any_size as module
from lightmeter.verbs.any_size import export_any_size
from lightmeter.verbs.predict import predict
from tests.bundles import picture


def test_it_answers_as_the_bundle_does(bundle: Bundle, tmp_path: Path) -> None:
    found = export_any_size(bundle.path, tmp_path / "any.onnx")
    assert found.n == len(bundle.exam().images)
    assert found.grey_levels <= 1
    assert found.top1_flips == 0
    session = onnxruntime.InferenceSession(str(found.file), providers=["CPUExecutionProvider"])
    data = picture(3, size=(200, 123), turn=6)
    (tmp_path / "one.jpg").write_bytes(data)
    (answer,) = predict(bundle, [tmp_path / "one.jpg"])
    (probabilities,) = session.run(["probabilities"], {"pictures": bundle.preprocess.upright(data)[None]})
    assert bundle.classes[int(probabilities[0].argmax())] == answer.label
    assert probabilities[0].max() == pytest.approx(answer.probability, abs=0.02)
    about = {entry.key: entry.value for entry in onnx.load(str(found.file)).metadata_props}
    assert about["classes"].split("\n") == list(bundle.classes)
    assert about["bundle"] == bundle.seal


def test_what_resizes_otherwise_is_refused(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squashed = bundle.preprocess.model_copy(update={"fit": "squash"})
    right = module.any_size
    monkeypatch.setattr(module, "any_size", lambda graph, _, temperature: right(graph, squashed, temperature))
    with pytest.raises(ExamError, match="resizes for itself is off by"):
        export_any_size(bundle.path, tmp_path / "any.onnx")
    assert not list(tmp_path.iterdir())


def test_exam_pictures_are_taken_whole(bundle: Bundle) -> None:
    for data in bundle.exam().images:
        whole = bundle.preprocess.upright(data)
        assert whole.dtype == np.uint8
        assert min(whole.shape[:2]) > 0 and whole.shape[2] == 3

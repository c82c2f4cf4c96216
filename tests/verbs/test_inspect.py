from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightmeter.errors import BundleError, FormatError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.run import Run
from lightmeter.verbs.inspect import inspect, lines
from lightmeter.verbs.pack import pack
from tests.bundles import picture


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.create(tmp_path / "run")
    run.write("request", {"source": "digits"})
    run.write("recipe", {"key": "abc", "recipe": {"epochs": 3}})
    run.append_epoch({"epoch": 1})
    return run


def test_a_bundle_shows_its_card_and_its_exam(own_bundle: Path) -> None:
    found = inspect(own_bundle)
    assert (found["kind"], found["classes"][0], found["calibrated"]) == ("bundle", "ant", True)
    assert found["exam"]["pictures"] == 8
    assert found["bytes"]["model.onnx"] > 0
    json.dumps(found, allow_nan=False)
    text = "\n".join(lines(found))
    assert "temperature: 1.7" in text
    assert "  size: 24" in text


def test_people_are_shown_no_more_digits_than_they_read() -> None:
    found = {
        "kind": "run",
        "path": "p",
        "result": {"test": {"accuracy": 0.9713983050847458, "n": 1234567}},
        "at": [1 / 3],
    }
    assert lines(found)[1:] == ["result:", '  test: {"accuracy": 0.9714, "n": 1234567}', "at: [0.33333]"]


def test_a_damaged_bundle_is_refused(own_bundle: Path) -> None:
    (own_bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        inspect(own_bundle)


def test_a_run_shows_what_is_there(run: Run) -> None:
    found = inspect(run.path)
    assert (found["kind"], found["finished"], found["epochs"], found["bundle"]) == ("run", False, 1, None)
    assert found["recipe"] == {"key": "abc", "recipe": {"epochs": 3}}
    run.write("result", {"seconds": 1.0, "complete": False})
    assert not inspect(run.path)["finished"]
    run.write("result", {"seconds": 1.0})
    assert inspect(run.path)["finished"]
    assert "finished: true" in lines(inspect(run.path))


def test_a_pack_shows_its_document(tmp_path: Path) -> None:
    data = {"a.jpg": picture(1), "b.jpg": picture(2)}
    labels = np.array([0, 1], np.int64)
    dataset = Dataset(
        "two", ("x", "y"), ("a.jpg", "b.jpg"), ("1", "2"), labels, ("", ""), ("", ""), data.__getitem__,
        Provenance("folder", "own"),
    )  # fmt: skip
    made = pack(dataset, Preprocess(size=8, channels=3), cache=tmp_path, workers=1)
    found = inspect(made.path)
    assert (found["kind"], found["n"], found["preprocess"]["size"]) == ("pack", 2, 8)


@pytest.mark.parametrize("name", ["request", "recipe"])
def test_a_newer_run_is_refused(run: Run, name: str) -> None:
    file = run.path / f"{name}.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(FormatError, match="of format 9"):
        inspect(run.path)


def test_a_newer_bundle_is_refused(own_bundle: Path) -> None:
    file = own_bundle / "bundle.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(FormatError, match="of format 9"):
        inspect(own_bundle)


def test_anything_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nothing that Lightmeter wrote"):
        inspect(tmp_path)
    with pytest.raises(FormatError, match="does not exist"):
        inspect(tmp_path / "absent")


def test_long_lists_are_cut(own_bundle: Path) -> None:
    found = {"kind": "bundle", "path": "p", "classes": [f"class {n}" for n in range(1000)], "text": "x" * 500}
    shown = lines(found)
    assert "(1000 in all)" in shown[1]
    assert max(map(len, shown)) < 160

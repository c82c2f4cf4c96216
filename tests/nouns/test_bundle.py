from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmeter.errors import BundleError, FormatError, LightmeterError
from lightmeter.nouns.bundle import CARD, Bundle, write_card
from tests.bundles import CLASSES, EXAM, PREPROCESS


def files_of(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def reseal(path: Path, **changes: Any) -> None:
    """Write the card with changes and a right seal, as someone would who means harm."""
    document = json.loads((path / CARD).read_text())
    files = changes.pop("files", None)
    fields = {name: value for name, value in document.items() if name not in ("format", "files", "seal")}
    write_card(path, {**fields, **changes})
    if files is not None:
        import hashlib

        document = {**json.loads((path / CARD).read_text()), "files": files, "seal": "0" * 64}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        seal = hashlib.sha256(text.encode()).hexdigest()
        (path / CARD).write_text(text.replace('"seal": "' + "0" * 64, f'"seal": "{seal}'))


def test_it_holds_what_was_written(bundle: Bundle) -> None:
    assert bundle.classes == CLASSES
    assert bundle.preprocess == PREPROCESS
    assert (bundle.temperature, bundle.abstain_below, bundle.views, bundle.graph) == (1.7, 0.4, 1, "onnx")
    assert bundle.calibrated
    assert bundle.scores == {"val": {"n": 8, "accuracy": 0.5}}
    assert bundle.provenance == {"data": "noise"}
    assert set(bundle.files) == set(files_of(bundle.path)) - {CARD}


def test_its_exam_holds_the_original_files(bundle: Bundle) -> None:
    exam = bundle.exam()
    assert list(exam.images) == [data for _, data in EXAM]
    assert exam.canvases.shape == (8, 24, 24, 3)
    assert exam.canvases.dtype == np.uint8
    assert exam.logits.shape == (8, 5)
    assert exam.logits.dtype == np.float32
    assert {"torch", "pillow", "onnxruntime", "numpy", "onnx"} <= set(exam.made_with)


@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_one_changed_byte_in_any_file_is_named(own_bundle: Path, place: float) -> None:
    for name in files_of(own_bundle):
        original = (own_bundle / name).read_bytes()
        changed = bytearray(original)
        changed[int(place * len(changed)) if place >= 0 else -1] ^= 1
        (own_bundle / name).write_bytes(changed)
        with pytest.raises(BundleError, match=name.replace(".", r"\.")):
            Bundle.open(own_bundle)
        (own_bundle / name).write_bytes(original)
    Bundle.open(own_bundle)


def test_every_byte_of_the_card_counts(own_bundle: Path) -> None:
    original = (own_bundle / CARD).read_bytes()
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        (own_bundle / CARD).write_bytes(changed)
        with pytest.raises(LightmeterError, match=r"bundle\.json"):
            Bundle.open(own_bundle)


def test_missing_and_extra_files_are_named(own_bundle: Path) -> None:
    (own_bundle / "exam/logits.npy").unlink()
    (own_bundle / "exam/images/extra.jpg").write_bytes(b"x")
    with pytest.raises(BundleError) as caught:
        Bundle.open(own_bundle)
    assert "exam/logits.npy is missing" in str(caught.value)
    assert "exam/images/extra.jpg does not belong to it" in str(caught.value)


def test_a_newer_format_is_refused_with_what_helps(own_bundle: Path) -> None:
    text = (own_bundle / CARD).read_text()
    (own_bundle / CARD).write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(FormatError, match="upgrade Lightmeter"):
        Bundle.open(own_bundle)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.open(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.open(tmp_path / "absent")


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "exam/../../outside.txt", "./model.onnx", "a\\b"])
def test_paths_in_the_card_stay_inside(own_bundle: Path, name: str) -> None:
    (own_bundle.parent / "outside.txt").write_text("secret")
    files = json.loads((own_bundle / CARD).read_text())["files"]
    reseal(own_bundle, files={**files, name: "0" * 64})
    with pytest.raises(BundleError, match="not a plain path"):
        Bundle.open(own_bundle)


def test_a_link_is_refused(own_bundle: Path) -> None:
    outside = own_bundle.parent / "weights"
    os.replace(own_bundle / "weights.safetensors", outside)
    (own_bundle / "weights.safetensors").symlink_to(outside)
    with pytest.raises(BundleError, match="is a link"):
        Bundle.open(own_bundle)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0.0),
        ("temperature", "1"),
        ("abstain_below", 1.5),
        ("classes", ["a", "a"]),
        ("classes", ["a"]),
        ("preprocess", {"size": 4, "channels": 3}),
        ("surprise", 1),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(own_bundle: Path, field: str, value: Any) -> None:
    reseal(own_bundle, **{field: value})
    if value == "1":  # a number written as text is still that number
        assert Bundle.open(own_bundle).temperature == 1.0
        return
    with pytest.raises(BundleError, match=field):
        Bundle.open(own_bundle)


def test_an_exam_with_objects_is_not_unpickled(own_bundle: Path) -> None:
    with open(own_bundle / "exam/logits.npy", "wb") as stream:
        np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    reseal(own_bundle)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(own_bundle).exam()


def test_an_exam_of_other_sizes_is_refused(own_bundle: Path) -> None:
    np.save(own_bundle / "exam/logits.npy", np.zeros((8, 4), np.float32))
    reseal(own_bundle)
    with pytest.raises(BundleError, match="does not fit"):
        Bundle.open(own_bundle).exam()

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightmeter.errors import DataError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.verbs.predict import Predictor, find, predict
from tests.bundles import CLASSES, net, picture


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    (root / "deep" / "er").mkdir(parents=True)
    for turn in range(1, 9):
        (root / f"{turn}.jpg").write_bytes(picture(turn, (50 + turn, 33), turn=turn))
    (root / "deep" / "er" / "z.PNG").write_bytes(picture(9, kind="PNG"))
    (root / "deep" / "notes.txt").write_text("no picture")
    (root / ".hidden.jpg").write_bytes(b"")
    return root


def by_torch(bundle: Bundle, file: Path) -> np.ndarray:
    """Probabilities of the trained module for one file: what everything else must equal."""
    pixels = torch.from_numpy(bundle.preprocess.canvas(file.read_bytes()).pixels[None].copy())
    with torch.no_grad():
        return torch.softmax(net()(pixels).double() / bundle.temperature, 1)[0].numpy()


def test_a_folder_is_its_pictures_by_name(photos: Path) -> None:
    found = [path.relative_to(photos).as_posix() for path in find([photos])]
    assert found == [*(f"{turn}.jpg" for turn in range(1, 9)), "deep/er/z.PNG"]


def test_probabilities_are_those_of_the_trained_module(bundle: Bundle, photos: Path) -> None:
    for prediction in predict(bundle, [photos], topk=5):
        expected = by_torch(bundle, Path(prediction.file))
        given = np.array([dict(prediction.top)[name] for name in CLASSES])
        np.testing.assert_allclose(given, expected, atol=1e-5)
        assert prediction.label == CLASSES[expected.argmax()]
        assert prediction.probability == max(given)
        assert [share for _, share in prediction.top] == sorted(given, reverse=True)
        assert prediction.calibrated


def test_exif_turns_change_the_answer(bundle: Bundle, tmp_path: Path) -> None:
    for turn in (1, 6):
        (tmp_path / f"{turn}.jpg").write_bytes(picture(1, turn=turn))
    plain, turned = predict(bundle, [tmp_path])
    assert plain.top != turned.top


def test_neighbours_do_not_matter(bundle: Bundle, photos: Path) -> None:
    alone = predict(bundle, [photos], batch_size=1)
    for batch_size in (2, 5, 64):
        together = predict(bundle, [photos], batch_size=batch_size)
        for one, other in zip(alone, together, strict=True):
            assert (one.file, one.label) == (other.file, other.label)
            np.testing.assert_allclose([p for _, p in one.top], [p for _, p in other.top], atol=1e-6)


def test_below_the_threshold_it_abstains_and_says_why(bundle: Bundle, photos: Path) -> None:
    predictions = predict(bundle, [photos])
    sure = [prediction for prediction in predictions if not prediction.abstain]
    unsure = [prediction for prediction in predictions if prediction.abstain]
    assert sure
    assert all(prediction.probability >= 0.4 and prediction.reason == "" for prediction in sure)
    strict = bundle.model_copy(update={"abstain_below": 1.0})
    for prediction in [*unsure, *predict(strict, [photos])]:
        assert prediction.abstain
        assert prediction.label in CLASSES
        assert "is below the" in prediction.reason
    assert not any(p.abstain for p in predict(bundle.model_copy(update={"abstain_below": 0.0}), [photos]))


def test_a_temperature_of_one_is_not_calibrated(bundle: Bundle, photos: Path) -> None:
    plain = bundle.model_copy(update={"temperature": 1.0})
    assert not predict(plain, [photos / "1.jpg"])[0].calibrated


def test_topk_bounds_the_list(bundle: Bundle, photos: Path) -> None:
    file = photos / "1.jpg"
    assert [len(predict(bundle, [file], topk=k)[0].top) for k in (1, 3, 5, 100)] == [1, 3, 5, 5]


def test_bad_pictures_are_listed_in_their_place(bundle: Bundle, photos: Path) -> None:
    (photos / "2.jpg").write_bytes((photos / "2.jpg").read_bytes()[:300])
    (photos / "3.jpg").write_bytes(b"<html>")
    shutil.rmtree(photos / "deep")
    os.symlink(photos / "nowhere", photos / "4.jpg.png")
    predictions = predict(bundle, [photos], batch_size=2)
    assert [prediction.file for prediction in predictions] == [str(path) for path in find([photos])]
    bad = {Path(p.file).name: p.reason for p in predictions if p.failed}
    assert set(bad) == {"2.jpg", "3.jpg", "4.jpg.png"}
    assert all(bad.values())
    good = [prediction for prediction in predictions if not prediction.failed]
    np.testing.assert_allclose(good[1].probability, by_torch(bundle, photos / "4.jpg").max(), atol=1e-5)


def test_bad_pictures_are_an_error_on_demand(bundle: Bundle, photos: Path) -> None:
    (photos / "2.jpg").write_bytes(b"")
    (photos / "8.jpg").write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        predict(bundle, [photos], on_bad="error", batch_size=2)
    assert "2 of 9 files" in str(caught.value)
    assert "2.jpg: the file is empty" in str(caught.value)
    assert "8.jpg" in str(caught.value)


def test_a_named_file_needs_no_ending(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(picture())
    assert predict(bundle, [tmp_path / "upload"])[0].label in CLASSES


def test_names_that_are_not_utf8_can_be_written_out(bundle: Bundle, tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg"))
    file.write_bytes(picture())
    assert "caf\N{REPLACEMENT CHARACTER}.jpg" in predict(bundle, [file])[0].file


@pytest.mark.parametrize("options", [{"topk": 0}, {"batch_size": 0}])
def test_sizes_below_one_are_refused(bundle: Bundle, photos: Path, options: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        predict(bundle, [photos], **options)


def test_missing_paths_and_empty_folders_are_told_at_once(bundle: Bundle, tmp_path: Path, photos: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        predict(bundle, [photos, tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no pictures\.\nExpected: a JPEG, PNG"):
        predict(bundle, [tmp_path / "empty"])


def test_an_answer_that_is_not_finite_is_no_label(bundle: Bundle) -> None:
    predictor = Predictor(bundle, threads=1)
    predictor.runner = lambda pixels: np.full((len(pixels), 5), np.nan, np.float32)
    (prediction,) = predictor.answer(["a.jpg"], np.zeros((1, 24, 24, 3), np.uint8))
    assert prediction.failed
    assert "not finite" in prediction.reason


def test_prediction_needs_the_base_install_alone(bundle: Bundle, photos: Path) -> None:
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in {'torch', 'onnx', 'onnxscript', 'scipy', 'sklearn', 'fastapi', 'pyarrow',"
        " 'matplotlib', 'jinja2', 'uvicorn'}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pathlib import Path\n"
        "from lightmeter.nouns.bundle import Bundle\n"
        "from lightmeter.verbs.predict import predict\n"
        "from lightmeter.verbs.verify import verify\n"
        "from lightmeter.verbs.inspect import inspect\n"
        f"path = Path({str(bundle.path)!r})\n"
        f"print(len(predict(Bundle.open(path), [Path({str(photos)!r})])), verify(path).n, inspect(path)['kind'])\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("9 8 bundle\n", "")

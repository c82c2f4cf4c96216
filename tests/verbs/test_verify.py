from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmeter.errors import BundleError, ExamError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import open_runner
from lightmeter.verbs.verify import bundle_in, probabilities, sit_exam, verify
from tests.bundles import picture, reseal


def test_a_bundle_and_the_bundle_in_a_run_verify(own_bundle: Path) -> None:
    assert verify(own_bundle).document().keys() == {"n", "max_abs_diff", "top1_flips"}
    assert verify(own_bundle.parent).n == 8


def test_a_changed_file_is_found_before_the_exam(own_bundle: Path) -> None:
    (own_bundle / "exam/images/000.jpg").write_bytes(picture(99))
    with pytest.raises(BundleError, match=r"exam/images/000\.jpg was changed"):
        verify(own_bundle)


def test_a_place_without_a_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no bundle"):
        bundle_in(tmp_path)
    with pytest.raises(BundleError, match="is not a folder"):
        bundle_in(tmp_path / "absent")


def test_other_pixels_fail(own_bundle: Path) -> None:
    canvases = np.load(own_bundle / "exam/canvases.npy")
    canvases[3, 0, 0, 0] ^= 1
    np.save(own_bundle / "exam/canvases.npy", canvases)
    reseal(own_bundle)
    with pytest.raises(ExamError, match=r"picture 3 decodes to other pixels \(by up to 1 grey"):
        verify(own_bundle)


def test_an_unreadable_exam_picture_fails(own_bundle: Path) -> None:
    (own_bundle / "exam/images/000.jpg").write_bytes(b"no picture")
    reseal(own_bundle)
    with pytest.raises(ExamError, match="picture 0 could not be read"):
        verify(own_bundle)


@pytest.mark.parametrize(("change", "says"), [(0.01, "logits differ"), (5e-4, "probabilities differ")])
def test_other_answers_fail(own_bundle: Path, change: float, says: str) -> None:
    logits = np.load(own_bundle / "exam/logits.npy")
    logits[2, logits[2].argmax()] -= change
    np.save(own_bundle / "exam/logits.npy", logits)
    reseal(own_bundle)
    with pytest.raises(ExamError, match=says) as caught:
        verify(own_bundle)
    assert "made with" in str(caught.value)


def test_another_label_within_the_tolerance_fails(bundle: Bundle) -> None:
    exam = bundle.exam()
    far = bundle.model_copy(update={"temperature": 1e6})  # where no probability shows the difference

    def run(pixels: np.ndarray) -> np.ndarray:
        logits = exam.logits.copy()
        first, second = np.argsort(logits[0])[[-1, -2]]
        logits[0, second] = logits[0, first] + 1e-4
        return logits

    wide = exam.tolerance.model_copy(update={"logits": 100.0})
    from dataclasses import replace
    from unittest.mock import patch

    with (
        patch.object(Bundle, "exam", lambda self: replace(exam, tolerance=wide)),
        pytest.raises(ExamError, match="1 of 8 pictures got another label"),
    ):
        sit_exam(far, run)


def test_answers_that_are_not_finite_fail(bundle: Bundle) -> None:
    with pytest.raises(ExamError, match="not all of them finite"):
        sit_exam(bundle, lambda pixels: np.full((len(pixels), 5), np.nan, np.float32))


def test_the_runner_itself_passes(bundle: Bundle) -> None:
    assert sit_exam(bundle, open_runner(bundle, threads=1)).top1_flips == 0


def test_probabilities_are_a_softmax_and_do_not_overflow() -> None:
    logits = np.array([[1e4, 0, -1e4], [0, 0, 0], [1, 2, 3]], np.float32)
    shares = probabilities(logits, 2.0)
    powers = np.exp(logits[2].astype(np.float64) / 2)
    np.testing.assert_allclose(shares[2], powers / powers.sum(), rtol=1e-12)
    np.testing.assert_allclose(shares[0], [1, 0, 0])
    np.testing.assert_allclose(shares[1], 1 / 3)


def test_a_runner_that_is_wrong_on_a_lone_picture_fails(bundle: Bundle) -> None:
    right = open_runner(bundle)

    def wrong(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return right(pixels) + np.float32(len(pixels) == 1)

    with pytest.raises(ExamError, match="logits differ"):
        sit_exam(bundle, wrong)

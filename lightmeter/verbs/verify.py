"""Verify: does a bundle still hold what was exported, and does it still answer its exam on this machine?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from lightmeter.errors import BadImageError, BundleError, ExamError
from lightmeter.nouns.bundle import CARD, Bundle, Exam
from lightmeter.runners import Runner, open_runner

_TIE = 1e-5
"""Two logits of the reference that are closer than this have no order that a runner could get wrong."""


@dataclass(frozen=True, slots=True)
class ExamResult:
    """A passed exam: how many pictures, the largest difference in logits, how many answers changed (always 0)."""

    n: int
    max_abs_diff: float
    top1_flips: int

    def document(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return asdict(self)


def verify(path: Path, *, threads: int = 0) -> ExamResult:
    """Check every hash of a bundle (or of the bundle in a run), and sit its exam.

    Raises:
        BundleError: there is no bundle, or a file in it is missing, extra or changed.
        ExamError: the exam failed.
    """
    bundle = Bundle.open(bundle_in(path))
    return sit_exam(bundle, open_runner(bundle, threads=threads))


def bundle_in(path: Path) -> Path:
    """The bundle that `path` names: itself, or the one inside a run. Raises BundleError where there is none."""
    if (path / CARD).exists():
        return path
    inside = path / "model.bundle"
    if inside.is_dir():
        return inside
    raise BundleError(
        f"{path} holds no bundle." if path.is_dir() else f"{path} is not a folder.",
        f"a folder with {CARD}, or a run with model.bundle/ in it",
        "`lightmeter train` and `lightmeter export` write bundles.",
    )


def sit_exam(bundle: Bundle, runner: Runner) -> ExamResult:
    """Decode the exam's files, compare the canvases bit for bit, run them, and compare the answers.

    All pictures at once, and the first of them alone: some libraries run a lone picture in a way of its own.

    Raises:
        ExamError: anything differs by more than the exam allows.
    """
    exam = bundle.exam()
    _compare_canvases(bundle, exam)
    differences = [_compare_answers(bundle, exam, runner, count) for count in (len(exam.canvases), 1)]
    return ExamResult(len(exam.canvases), max(differences), 0)


def _compare_answers(bundle: Bundle, exam: Exam, runner: Runner, count: int) -> float:
    """The largest difference in logits over the first `count` pictures in one run. Raises ExamError."""
    logits, expected = runner(exam.canvases[:count]), exam.logits[:count]
    if logits.shape != expected.shape or not np.isfinite(logits).all():
        raise _failed(f"the graph gave {logits.shape} numbers, not all of them finite", exam)
    difference = float(np.abs(logits - expected).max())
    if difference > exam.tolerance.logits:
        raise _failed(f"logits differ by up to {difference:.2g}, above {exam.tolerance.logits:g}", exam)
    apart = np.abs(probabilities(logits, bundle.temperature) - probabilities(expected, bundle.temperature)).max()
    if apart > exam.tolerance.probability:
        raise _failed(f"probabilities differ by up to {apart:.2g}, above {exam.tolerance.probability:g}", exam)
    flips = _flips(logits, expected)
    if flips:
        raise _failed(f"{flips} of {len(logits)} pictures got another label", exam)
    return difference


def probabilities(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """softmax(logits / temperature) along the last axis, in float64."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    powers: NDArray[np.float64] = np.exp(scaled)
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def _compare_canvases(bundle: Bundle, exam: Exam) -> None:
    for number, (data, expected) in enumerate(zip(exam.images, exam.canvases, strict=True)):
        try:
            canvas = bundle.preprocess.canvas(data).pixels
        except BadImageError as error:
            raise _failed(f"exam picture {number} could not be read: {error.received}", exam) from error
        if not np.array_equal(canvas, expected):
            most = int(np.abs(canvas.astype(np.int16) - expected).max())
            raise _failed(f"exam picture {number} decodes to other pixels (by up to {most} grey levels)", exam)


def _flips(logits: NDArray[np.float32], reference: NDArray[np.float32]) -> int:
    rows = np.arange(len(logits))
    return int((reference.max(axis=1) - reference[rows, logits.argmax(axis=1)] > _TIE).sum())


def _failed(what: str, exam: Exam) -> ExamError:
    with_what = ", ".join(f"{name} {version}" for name, version in sorted(exam.made_with.items()))
    return ExamError(
        f"The exam failed: {what}.",
        f"the answers that it was exported with, by {with_what}; here is pillow {PIL.__version__}",
        "use the library versions that the bundle was made with, or export it again here.",
    )

"""quantise: the bundle of a finished run -> one in 8 bits, whose loss of accuracy is measured before it is kept."""

from __future__ import annotations

import io
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import ExamError
from lightmeter.exporters.int8 import quantise
from lightmeter.nouns.bundle import GRAPH, LOGITS, Bundle, write_card
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import atomic_folder, write_atomic
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.run import Run
from lightmeter.runners import Runner, open_runner
from lightmeter.verbs.again import data_of
from lightmeter.verbs.calibrate import calibrate
from lightmeter.verbs.evaluate import open_test, score
from lightmeter.verbs.pack import pack
from lightmeter.verbs.verify import sit_exam

_CALIBRATION = 256  # training pictures that ranges are taken from
_LARGEST_DROP = 0.005  # of accuracy on validation, below which the 8 bits are no bargain; one picture at least
_TIMED = 20  # single pictures, for the speed of both


@dataclass(frozen=True, slots=True)
class Quantised:
    """A bundle in 8 bits, and what it lost and gained.

    Attributes:
        val, test: its own scores.
        drop: of accuracy on validation, float32 less 8 bits.
        speedup: times as many single pictures a second as in float32, on this machine.
    """

    bundle: Path
    val: Evaluation
    test: Evaluation
    drop: float
    speedup: float
    exam: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "bundle": str(self.bundle),
            "exam": self.exam,
            "drop": round(self.drop, 5),
            "speedup": round(self.speedup, 3),
            "val": self.val.summary(),
            "test": self.test.summary(),
        }


def export_int8(path: Path, out: Path | None = None, *, progress: Progress = SILENT) -> Quantised:
    """Write the bundle of a run anew in 8 bits, calibrated and scored as what it is.

    Ranges come from training pictures, the temperature from validation, and the locked test split is opened once
    more, which the ledger says. The exam holds the 8-bit graph's own answers, because it is they that must not change
    from machine to machine.

    Args:
        path: a finished run, whose pictures are still there.
        out: the bundle to write; `model-int8.bundle` in the run by default.

    Raises:
        ExamError: it names more than half a point fewer of the validation pictures right; nothing is left behind.
        BundleError: the graph has no 8-bit form.
        SourceError, DataError: the run's pictures are gone or changed.
    """
    run = Run.open(path)
    plain = Bundle.open(run.bundle)
    dataset = data_of(run, progress)
    canvases = pack(dataset, plain.preprocess, cache=cache_folder(), on_bad="quarantine", progress=progress)
    split, classes = run.split, plain.classes
    rows = canvases.rows(split.train[:: max(1, len(split.train) // _CALIBRATION)][:_CALIBRATION])
    target = out or run.path / "model-int8.bundle"
    with atomic_folder(target) as folder:
        shutil.copytree(plain.path, folder, dirs_exist_ok=True)
        progress.say(f"Taking ranges from {len(rows)} training pictures ...")
        quantise(plain.path / GRAPH, canvases.some(rows), folder / GRAPH)
        card = plain.model_dump(mode="json", exclude={"format", "files", "seal"})
        write_card(folder, {**card, "precision": "int8"})
        runner = open_runner(Bundle.open(folder))
        _write_answers(folder, runner(plain.exam().canvases))
        raw = score(runner, canvases, split.val, classes, split="val", progress=progress)
        before = Evaluation.load(run.path / "evaluation" / "val.npz")
        drop = before.accuracy - raw.accuracy
        if not _accepted(before.accuracy, raw.accuracy, raw.n):
            raise ExamError(
                f"In 8 bits the model names {raw.accuracy:.1%} of {raw.n:,} validation pictures right, in float32 "
                f"{before.accuracy:.1%}.",
                f"a loss of at most {_LARGEST_DROP:.1%}",
                "serve the bundle in float32.",
            )
        calibration = calibrate(raw)
        val = replace(raw, temperature=calibration.temperature)
        test = _test(runner, canvases, run, plain, calibration.temperature, progress)
        told = {
            "precision": "int8",
            "temperature": calibration.temperature,
            "abstain_below": calibration.abstain_below,
            "scores": {"val": val.summary(), "test": test.summary(), "calibration": calibration.document()},
        }
        write_card(folder, {**card, **told})
        bundle = Bundle.open(folder)
        exam = sit_exam(bundle, open_runner(bundle))
        speedup = _speed(runner, canvases) / _speed(open_runner(plain), canvases)
    return Quantised(target, val, test, drop, speedup, exam.document())


def _accepted(before: float, after: float, n: int) -> bool:
    """Whether a loss of accuracy on n pictures is small enough; a single picture always is."""
    return before - after <= max(_LARGEST_DROP, 1.5 / n)


def _test(
    runner: Runner, canvases: Pack, run: Run, plain: Bundle, temperature: float, progress: Progress
) -> Evaluation:
    return open_test(
        runner,
        canvases,
        run.split,
        plain.classes,
        ledger=run.ledger,
        by="export --int8",
        recipe_key=plain.recipe_key,
        temperature=temperature,
        progress=progress,
    ).evaluation


def _write_answers(folder: Path, logits: NDArray[np.float32]) -> None:
    """Put other answers into a bundle's exam."""
    stream = io.BytesIO()
    np.save(stream, logits, allow_pickle=False)
    write_atomic(folder / LOGITS, stream.getvalue())


def _speed(runner: Runner, canvases: Pack) -> float:
    """Single pictures a second, by the median."""
    times = []
    for row in range(min(_TIMED, len(canvases.ids))):
        pixels = np.asarray(canvases.pixels[row : row + 1])
        began = time.perf_counter()
        runner(pixels)
        times.append(time.perf_counter() - began)
    return 1 / sorted(times)[len(times) // 2]

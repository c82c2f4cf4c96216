"""quantise: the bundle of a finished run -> one in 8 bits, whose loss of accuracy is measured before it is kept."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import ExamError, UsageError
from lightmeter.exporters.int8 import quantise
from lightmeter.nouns.bundle import GRAPH, Bundle, write_card
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import atomic_folder
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.run import Run
from lightmeter.nouns.spread import spread
from lightmeter.runners import Runner, open_runner, open_side_by_side
from lightmeter.verbs.again import data_of
from lightmeter.verbs.calibrate import calibrate
from lightmeter.verbs.compare import compare
from lightmeter.verbs.evaluate import open_test, score
from lightmeter.verbs.export import made_now, rewrite_answers
from lightmeter.verbs.pack import pack
from lightmeter.verbs.verify import sit_exam

_CALIBRATION = 256  # training pictures that ranges are taken from
_LARGEST_DROP = 0.005  # of accuracy on validation, above which the 8 bits are no bargain; one picture at least
_TIMED = 20  # single pictures by each in turns, for the speed of both


@dataclass(frozen=True, slots=True)
class Quantised:
    """A bundle in 8 bits, and what it lost and gained.

    Attributes:
        val, test: its own scores.
        plain: the float32 bundle's on the same validation pictures.
        speedup: times as many single pictures a second as in float32, on this machine.
    """

    bundle: Path
    val: Evaluation
    test: Evaluation
    plain: Evaluation
    speedup: float
    exam: dict[str, Any]

    @property
    def drop(self) -> float:
        """Of accuracy on validation, float32 less 8 bits."""
        return self.plain.accuracy - self.val.accuracy

    @property
    def drop_interval(self) -> tuple[float, float]:
        """95 % interval of `drop`, of the same pictures named by both; see `compare`."""
        found = compare(self.plain, self.val)
        return -found.high, -found.low

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "bundle": str(self.bundle),
            "exam": self.exam,
            "drop": round(self.drop, 5),
            "drop_interval": [round(bound, 5) for bound in self.drop_interval],
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
        ExamError: it loses more than half a point of the validation pictures, or than one picture where that is more;
            nothing is left behind.
        BundleError: the graph has no 8-bit form.
        UsageError: the run's bundle is in 8 bits already.
        SourceError, DataError: the run's pictures are gone.
    """
    run = Run.open(path)
    plain = Bundle.open(run.bundle)
    if plain.precision != "float32":
        raise UsageError(
            f"{plain.path} is in {plain.precision} already.", "a bundle in float32", f"lightmeter export {path}"
        )
    dataset = data_of(run, progress)
    canvases = pack(dataset, plain.preprocess, cache=cache_folder(), on_bad="quarantine", progress=progress)
    split, classes = run.split, plain.classes
    rows = canvases.rows(spread(split.train, _CALIBRATION))
    before = score(open_side_by_side(plain), canvases, split.val, classes, split="val", progress=progress)
    target = out or run.path / "model-int8.bundle"
    with atomic_folder(target) as folder:
        shutil.copytree(plain.path, folder, dirs_exist_ok=True)
        quantise(plain.path / GRAPH, canvases.some(rows), folder / GRAPH, progress)
        card = {**plain.model_dump(mode="json", exclude={"format", "files", "seal"}), **made_now()}
        write_card(folder, {**card, "precision": "int8"})
        small = Bundle.open(folder)
        runner, several = open_runner(small), open_side_by_side(small)
        rewrite_answers(folder, runner(plain.exam().canvases))
        raw = score(several, canvases, split.val, classes, split="val", progress=progress)
        if before.accuracy - raw.accuracy > _allowed(raw.n):
            raise ExamError(
                f"In 8 bits the model names {raw.accuracy:.2%} of {raw.n:,} validation pictures right, in float32 "
                f"{before.accuracy:.2%}.",
                f"a loss of at most {_allowed(raw.n):.2%}",
                "serve the bundle in float32.",
            )
        calibration = calibrate(raw)
        val = replace(raw, temperature=calibration.temperature)
        test = _test(several, canvases, run, plain, calibration.temperature, progress)
        told = {
            "precision": "int8",
            "temperature": calibration.temperature,
            "abstain_below": calibration.abstain_below,
            "scores": {"val": val.summary(), "test": test.summary(), "calibration": calibration.document()},
        }
        write_card(folder, {**card, **told})
        bundle = Bundle.open(folder)
        exam = sit_exam(bundle, open_runner(bundle))
        speedup = _speedup(runner, open_runner(plain), plain.exam().canvases)
    return Quantised(target, val, test, before, speedup, exam.document())


def _allowed(n: int) -> float:
    """The loss of accuracy on n pictures that is small enough; a single picture always is."""
    return max(_LARGEST_DROP, 1.5 / n)


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


def _speedup(runner: Runner, plain: Runner, canvases: NDArray[np.uint8]) -> float:
    """How many times as fast as `plain` a runner answers single pictures, in turns; by the medians."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(_TIMED):
        place = turn % len(canvases)
        for one, spent in zip((runner, plain), times, strict=True):
            began = time.perf_counter()
            one(canvases[place : place + 1])
            spent.append(time.perf_counter() - began)
    return float(np.median(times[1]) / np.median(times[0]))

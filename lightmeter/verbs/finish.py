"""From trained weights to a calibrated, exported, once-tested model: everything between training and the report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightmeter.exporters.onnx import EXPORT_SECONDS
from lightmeter.models.base import Model
from lightmeter.models.views import MultiView
from lightmeter.nouns.bundle import EXAM_IMAGES, Bundle
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.split import Learning
from lightmeter.nouns.spread import spread
from lightmeter.runners import open_side_by_side
from lightmeter.verbs.calibrate import Calibration, calibrate
from lightmeter.verbs.evaluate import score
from lightmeter.verbs.execution import lay_out
from lightmeter.verbs.export import amend_card, write_bundle
from lightmeter.verbs.features import fold

_REPORT_SECONDS = 5.0
_MARGIN = 1.2  # on what was measured


@dataclass(frozen=True, slots=True)
class Exported:
    """What came of an export: the calibrated validation scores, the exam, images scored per second, its own seconds."""

    val: Evaluation
    calibration: Calibration
    exam: dict[str, Any]
    images_per_second: float
    seconds: float


def finish_seconds(export: float, scored: int, images_per_second: float, *, margin: float = _MARGIN) -> float:
    """Seconds to keep for everything after training: `export`, scoring so many pictures at that speed, the report.

    Args:
        margin: times the seconds for scoring; less where its speed was measured in the way in which it is done.
    """
    return export + _REPORT_SECONDS + margin * scored / images_per_second


def least_finish_seconds() -> float:
    """As `finish_seconds`, for a network of which nothing is known yet."""
    return finish_seconds(EXPORT_SECONDS, 0, 1.0)


@dataclass(frozen=True, slots=True)
class Finisher:
    """What turning weights into a bundle needs to know, apart from the weights."""

    model: Model
    recipe: Recipe
    dataset: Dataset
    pack: Pack
    learning: Learning
    standard: tuple[Tensor, Tensor] | None  # mean and deviation of the features that the head was trained on
    provenance: dict[str, Any]
    seen: bytes | None = None

    def load(self, best: dict[str, Tensor]) -> MultiView:
        """Put trained tensors into the model: on the CPU, in evaluation mode, with its test-time views around it."""
        model = self.model.to("cpu")
        lay_out(model, torch.contiguous_format)
        if self.standard is None:
            model.load_state_dict(best)
        else:
            model.head.load_state_dict({name.removeprefix("head."): tensor for name, tensor in best.items()})
            fold(model.head, *self.standard)
        views: Literal[1, 2, 6] = self.recipe.views
        return MultiView(model, views).eval()

    def export(self, path: Path, module: MultiView, progress: Progress) -> Exported:
        """Write the bundle, score the validation split with it as it will be served, and calibrate it on that.

        Its exam is of validation files spread over the split. Raises ExamError.
        """
        classes, val = self.dataset.classes, self.learning.val
        chosen = spread(val, EXAM_IMAGES)
        began = time.perf_counter()
        exam = write_bundle(
            path,
            module,
            classes=classes,
            preprocess=self.recipe.preprocess,
            temperature=1.0,
            abstain_below=0.0,
            recipe_key=self.recipe.key(),
            scores={},
            provenance=self.provenance,
            exam=[(id, self.dataset.read(id)) for id in chosen],
            seen=self.seen,
        )
        run = open_side_by_side(Bundle.open(path))
        exported = time.perf_counter()
        raw = score(run, self.pack, val, classes, split="val", progress=progress)
        rate = raw.n / (time.perf_counter() - exported)
        calibration = calibrate(raw)
        calibrated = replace(raw, temperature=calibration.temperature)
        amend_card(
            path,
            temperature=calibration.temperature,
            abstain_below=calibration.abstain_below,
            scores={"val": calibrated.summary(), "calibration": calibration.document()},
        )
        return Exported(calibrated, calibration, exam.document(), rate, exported - began)

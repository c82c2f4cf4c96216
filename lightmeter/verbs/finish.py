"""From trained weights to a calibrated, exported, once-tested model: everything between training and the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmeter.models.base import Model
from lightmeter.models.views import MultiView
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.split import Learning
from lightmeter.verbs.calibrate import Calibration, calibrate
from lightmeter.verbs.evaluate import score
from lightmeter.verbs.export import write_bundle
from lightmeter.verbs.features import fold

_EXAM_IMAGES = 16
BATCH = 64  # small enough for six views of large pictures, large enough to keep two cores busy


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

    def load(self, best: dict[str, Tensor]) -> MultiView:
        """Put trained tensors into the model: on the CPU, in evaluation mode, with its test-time views around it."""
        model = self.model.to("cpu", memory_format=torch.contiguous_format)
        if self.standard is None:
            model.load_state_dict(best)
        else:
            model.head.load_state_dict(best)
            fold(model.head, *self.standard)
        views: Literal[1, 2, 6] = self.recipe.views
        return MultiView(model, views).eval()

    def validate(self, module: nn.Module, progress: Progress) -> tuple[Evaluation, Calibration]:
        """Score the validation split as it will be served, and calibrate on it."""
        classes = self.dataset.classes
        val = score(
            logits_of(module), self.pack, self.learning.val, classes, split="val", batch_size=BATCH, progress=progress
        )
        calibration = calibrate(val)
        return Evaluation(val.ids, val.logits, val.labels, classes, "val", calibration.temperature), calibration

    def export(self, path: Path, module: MultiView, calibration: Calibration, val: Evaluation) -> dict[str, Any]:
        """Write the bundle, with an exam of validation files spread over the split. Raises ExamError."""
        chosen = self.learning.val[:: max(1, len(self.learning.val) // _EXAM_IMAGES)][:_EXAM_IMAGES]
        result = write_bundle(
            path,
            module,
            classes=self.dataset.classes,
            preprocess=self.recipe.preprocess,
            temperature=calibration.temperature,
            abstain_below=calibration.abstain_below,
            recipe_key=self.recipe.key(),
            scores={"val": val.summary()},
            provenance=self.provenance,
            exam=[(id, self.dataset.read(id)) for id in chosen],
        )
        return result.document()


def logits_of(module: nn.Module) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """A module as a function of arrays: uint8[N, S, S, C] -> float32[N, K], in float32 without gradients."""

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            logits: NDArray[np.float32] = module(torch.from_numpy(pixels)).float().numpy()
        return logits

    return run

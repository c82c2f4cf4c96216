"""Data: a packed Dataset and the rows that may be learned from. It has no test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmeter.augment import compose
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.split import Learning
from lightmeter.verbs.batches import PixelBatches


@dataclass(frozen=True, slots=True)
class Data:
    """A Dataset with its Pack, and the rows to learn from. No test."""

    dataset: Dataset
    pack: Pack
    learning: Learning
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]

    @property
    def sample(self) -> NDArray[np.int64]:
        """About 4,000 training rows, spread evenly and then mixed."""
        some = self.train_rows[:: max(1, len(self.train_rows) // 4000)]
        return some[np.argsort(some * 2654435761 % 2**32, kind="stable")]

    def pixels(self, count: int) -> Tensor:
        """Some training images in mixed order, uint8[count, S, S, C]."""
        return torch.from_numpy(self.pack.some(self.sample[:count]))

    def labels(self, count: int) -> Tensor:
        """Their labels, int64[count]."""
        return torch.from_numpy(self.pack.labels[self.sample[:count]])

    def batches(self, recipe: Recipe) -> PixelBatches:
        """Augmented canvases, as the recipe wants them."""
        return PixelBatches(
            self.pack,
            self.train_rows,
            self.val_rows,
            self.learning.val,
            len(self.dataset.classes),
            compose(recipe.augment),
            recipe.loss.label_smoothing,
            recipe.seed,
            "cuda" if torch.cuda.is_available() else "cpu",
        )

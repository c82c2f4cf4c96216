"""head: a model's head trained alone, on features that its backbone computes once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmeter.augment import MIXING, BatchContext, compose
from lightmeter.errors import RecipeError
from lightmeter.models.base import Model
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Optimizer, Recipe, Schedule
from lightmeter.optim import build_optimizer
from lightmeter.verbs.batches import FeatureBatches
from lightmeter.verbs.data import Data
from lightmeter.verbs.features import View, features, fold, mirrored, plain, standardise
from lightmeter.verbs.fit import steps, validate
from lightmeter.verbs.plan import Plan
from lightmeter.verbs.state import Counters, State

_RATE = 2e-3  # peak learning rate of AdamW for a head that is trained before the rest

Standard = tuple[Tensor, Tensor]
"""Mean and deviation of the features that a head was trained on, float32[F] each."""


class HeadAlone(nn.Module):
    """A model's head, trained on features that were computed once."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """float32[N, F] -> logits float32[N, K]."""
        logits: Tensor = self.head(features)
        return logits


def _identity(recipe: Recipe) -> str:
    """Of the backbone's weights: random ones are those of a seed."""
    return f"scratch of seed {recipe.seed}" if recipe.start == "scratch" else recipe.start


def feature_batches(model: Model, data: Data, plan: Plan, progress: Progress) -> tuple[FeatureBatches, Standard]:
    """Standardised features of all training and validation images, and what they were standardised by."""
    recipe = plan.recipe
    execution = plan.features_by or plan.execution

    def of(rows: NDArray[np.int64], views: Mapping[str, View]) -> Tensor:
        return features(
            model, data.pack, rows, execution, views, start=_identity(recipe), cache=cache_folder(), progress=progress
        )

    n = len(data.train_rows)
    both = {"plain": plain, "mirrored": mirrored} if recipe.feature_mirror else {"plain": plain}
    found = of(np.concatenate([data.train_rows, data.val_rows]), both)
    train, val = found[:, :n], found[0, n:]
    if recipe.feature_views:
        train = torch.cat([train, of(data.train_rows, augmented_views(data, recipe))])
    mean, deviation = standardise(train, model.head)
    batches = FeatureBatches(
        ((train - mean) / deviation).to(execution.device),
        torch.from_numpy(data.pack.labels[data.train_rows]).to(execution.device),
        ((val - mean) / deviation).to(execution.device),
        data.pack.labels[data.val_rows],
        data.learning.val,
        len(data.dataset.classes),
        recipe.loss.label_smoothing,
        recipe.seed,
    )
    return batches, (mean, deviation)


def augmented_views(data: Data, recipe: Recipe) -> dict[str, View]:
    """The recipe's augmentations of the training pictures, drawn once for each of its `feature_views`.

    Raises:
        RecipeError: there are none, or one of them changes labels, which features alone cannot carry.
    """
    names = [choice.name for choice in recipe.augment]
    mixing = [name for name in names if name in MIXING]
    if not names or mixing:
        raise RecipeError(
            f"feature_views={recipe.feature_views} with "
            + (f"the augmentation {mixing[0]!r}, which mixes pictures." if mixing else "nothing in augment."),
            "augmentations that change one picture at a time, such as shift, flip or random_resized_crop",
            "choose with --set augment, or set feature_views to 0.",
        )
    augment = compose(recipe.augment)
    drawn = json.dumps([choice.model_dump(mode="json") for choice in recipe.augment])

    def view(number: int) -> View:
        def apply(positions: NDArray[np.int64], pixels: Tensor) -> Tensor:
            rows = torch.from_numpy(data.train_rows[positions])
            context = BatchContext(rows, number, int(positions[0]), 1)
            return augment(pixels, torch.zeros(len(rows), 1, device=pixels.device), context, recipe.seed)[0]

        return apply

    return {f"{drawn}, seed {recipe.seed}, view {number}": view(number) for number in range(recipe.feature_views)}


def probe(model: Model, data: Data, plan: Plan, progress: Progress) -> None:
    """Train the head of `model` alone, in place, so that what is trained with it does not start from noise."""
    recipe = plan.recipe.model_copy(
        update={
            "optimizer": Optimizer(name="adamw", lr=_RATE, bias_lr=_RATE, head_lr=_RATE, weight_decay=0.05),
            "schedule": Schedule(name="cosine", warmup=0.05),
            "epochs": plan.recipe.probe_epochs,
        }
    )
    batches, standard = feature_batches(model, data, plan, progress)
    module = HeadAlone(model.head)
    execution = replace(plan.execution, dtype="float32", micro_batch=recipe.batch_size)
    execution.place(module)
    module.train()
    batch_size = min(recipe.batch_size, batches.n)
    total = max(batch_size, recipe.epochs * (batches.n // batch_size * batch_size))
    counters = Counters(remaining=float(total), micro_batch=recipe.batch_size)
    state = State(module, build_optimizer(module, recipe.optimizer), None, counters)
    with execution.pool():
        for _ in steps(state, recipe, batches, execution):
            pass
        val = validate(module, batches, execution, data.dataset.classes)
    fold(model.head, *(part.to(execution.device) for part in standard))
    progress.say(f"The head alone, on fixed features: val {val.accuracy:.1%}, loss {val.loss:.3f}.")

"""head: a model's head trained alone, on features that its backbone computes once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from lightmeter.models.base import Model
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Optimizer, Schedule
from lightmeter.optim import build_optimizer
from lightmeter.verbs.batches import FeatureBatches
from lightmeter.verbs.data import Data
from lightmeter.verbs.features import features, fold, standardise
from lightmeter.verbs.fit import steps, validate
from lightmeter.verbs.meter import Plan
from lightmeter.verbs.state import Counters, State

_RATE = 1e-3  # peak learning rate of AdamW for a head that is trained before the rest

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


def feature_batches(model: Model, data: Data, plan: Plan, progress: Progress) -> tuple[FeatureBatches, Standard]:
    """Standardised features of all training and validation images, and what they were standardised by."""
    recipe = plan.recipe
    execution = plan.features_by or plan.execution
    rows = np.concatenate([data.train_rows, data.val_rows])
    found = features(
        model,
        data.pack,
        rows,
        execution,
        mirror=recipe.views > 1,
        start=recipe.start,
        cache=cache_folder(),
        progress=progress,
    )
    n = len(data.train_rows)
    mean, deviation = standardise(found[:, :n], model.head)
    standard = ((found - mean) / deviation).to(execution.device)
    batches = FeatureBatches(
        standard[:, :n],
        torch.from_numpy(data.pack.labels[data.train_rows]).to(execution.device),
        standard[0, n:],
        data.pack.labels[data.val_rows],
        data.learning.val,
        len(data.dataset.classes),
        recipe.loss.label_smoothing,
        recipe.seed,
    )
    return batches, (mean, deviation)


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

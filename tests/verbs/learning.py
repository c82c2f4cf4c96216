"""A small real job for the tests of training: the digits, their recipe, and fresh states for it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import Recipe
from lightmeter.optim import build_optimizer
from lightmeter.optim.ema import EMA
from lightmeter.recipes import RECIPES, Facts
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.fit import training_mode
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.state import Counters, State

PLAIN = Execution("cpu", "float32", "channels_last", 32, 1)
CLASSES = tuple("0123456789")


@cache
def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """160 digits: uint8[160, 8, 8, 1] and int64[160]."""
    digits = load_digits()
    images = np.round(digits.images[:160] * 255 / 16).astype(np.uint8)[..., None]
    return torch.from_numpy(images), torch.from_numpy(digits.target[:160].astype(np.int64))


class DigitBatches:
    """The first 128 digits for training, 32 for validation, augmented as the recipe says; it keeps no pack."""

    def __init__(self, recipe: Recipe) -> None:
        from lightmeter.augment import compose

        self.recipe, self.augment = recipe, compose(recipe.augment)
        self.images, self.labels = pixels()
        self.n = 128
        self.val_ids = tuple(f"v{number}" for number in range(32))
        self.val_labels = self.labels[128:].numpy()

    def soon(self, chosen: torch.Tensor) -> None:
        """They are in memory."""

    def train(self, chosen: torch.Tensor, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Batches`."""
        from lightmeter.augment import BatchContext
        from lightmeter.optim.losses import soft_targets

        targets = soft_targets(self.labels[chosen], 10, self.recipe.loss.label_smoothing)
        return self.augment(self.images[chosen], targets, BatchContext(chosen, epoch, step, 10), self.recipe.seed)

    def val(self, batch_size: int):  # type: ignore[no-untyped-def]
        """See `Batches`."""
        yield from self.images[128:].split(batch_size)

    def sample(self, batch_size: int):  # type: ignore[no-untyped-def]
        """See `Batches`."""
        yield from self.images[:128].split(batch_size)


def recipe(**changes: object) -> Recipe:
    """The fast recipe on digits with a shift, 3 epochs of batches of 16, changed as told."""
    facts = Facts(n=128, num_classes=10, preprocess=Preprocess(size=8, channels=1), mirror=True, seed=0)
    made = RECIPES["fast"](facts, epochs=3.0, width=0.25)
    return made.model_copy(update={"batch_size": 16, **changes})


def fresh(made: Recipe) -> State:
    """A State before its first step."""
    model = build_prepared(made, 10, pixels()[0][:128])
    PLAIN.place(model)
    training_mode(model, ())
    ema = EMA(model, made.ema) if made.ema else None
    counters = Counters(remaining=made.epochs * 128, micro_batch=PLAIN.micro_batch)
    return State(model, build_optimizer(model, made.optimizer), ema, counters)

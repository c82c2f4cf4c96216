"""Recipes that start from random weights."""

from __future__ import annotations

import math

from lightmeter.nouns.recipe import AugmentChoice, Loss, ModelChoice, Optimizer, Recipe, Schedule
from lightmeter.recipes.facts import Facts

_REFERENCE_BATCH = 2000  # the batch for which the published rates were tuned


def fast(facts: Facts, *, epochs: float, width: float = 1.0) -> Recipe:
    """The whitened network with Muon: the quickest way we know to a good classifier from scratch.

    `lightmeter train cifar10 --budget 15m` (the meter chooses `epochs` and `width`).

    Rates are those of airbench94_muon (K. Jordan, 2024), whose loss is a sum over 2,000 images; ours is a mean, so
    the rates of plain SGD grow with the batch, and Muon's, whose step has a fixed length, with its square root.
    """
    batch = 1000 if facts.n >= 20_000 else min(512, max(16, 2 ** round(math.log2(facts.n / 20))))
    augment = [AugmentChoice(name="alternating_flip")] if facts.mirror else []
    augment.append(AugmentChoice(name="shift", options={"pixels": max(1, round(facts.preprocess.size / 16))}))
    return Recipe(
        model=ModelChoice(name="whitened", width=width),
        preprocess=facts.preprocess,
        augment=tuple(augment),
        loss=Loss(label_smoothing=0.2),
        optimizer=Optimizer(
            name="muon",
            lr=0.24 * (batch / _REFERENCE_BATCH) ** 0.5,
            bias_lr=0.053 * batch,
            head_lr=0.67 * batch,
            momentum=0.85,
            weight_decay=3e-6,
        ),
        schedule=Schedule(name="linear"),
        epochs=epochs,
        batch_size=batch,
        seed=facts.seed,
        views=6 if facts.mirror else 1,
    )


def resnet(facts: Facts, *, epochs: float, width: float = 1.0) -> Recipe:
    """ResNet-18 with SGD and a one-cycle schedule: the textbook recipe, for those who want a known network.

    `lightmeter train cifar10 --recipe resnet --epochs 30`.
    """
    batch = 128 if facts.n >= 5_000 else 32
    augment = [AugmentChoice(name="flip")] if facts.mirror else []
    augment.append(AugmentChoice(name="shift", options={"pixels": max(1, round(facts.preprocess.size / 8))}))
    rate = 0.1 * batch / 128
    return Recipe(
        model=ModelChoice(name="resnet18", width=width),
        preprocess=facts.preprocess,
        augment=tuple(augment),
        loss=Loss(label_smoothing=0.1),
        optimizer=Optimizer(name="sgd", lr=rate, bias_lr=rate, head_lr=rate, momentum=0.9, weight_decay=5e-4),
        schedule=Schedule(name="linear", warmup=0.2),
        epochs=epochs,
        batch_size=batch,
        seed=facts.seed,
        views=2 if facts.mirror else 1,
    )

"""Recipes that start from trained weights."""

from __future__ import annotations

from lightmeter.nouns.recipe import ModelChoice, Optimizer, Recipe, Schedule
from lightmeter.recipes.facts import Facts


def probe(facts: Facts, *, epochs: float, width: float = 1.0, model: str = "mobilenet_v2", start: str) -> Recipe:
    """The backbone frozen, its features computed once, a linear head trained on them with AdamW.

    Dropout is what keeps the head from learning its few thousand pictures by heart.

    `lightmeter train imagenette --budget 5m --start mobilenet_v2_1.0_imagenet_backbone.safetensors`
    """
    return Recipe(
        model=ModelChoice(name=model, width=width, options={"dropout": 0.8} if model == "mobilenet_v2" else {}),
        start=start,
        preprocess=facts.preprocess,
        optimizer=Optimizer(name="adamw", lr=1e-3, bias_lr=1e-3, head_lr=1e-3, weight_decay=0.05),
        schedule=Schedule(name="cosine", warmup=0.05),
        epochs=epochs,
        batch_size=256 if facts.n >= 2_560 else max(8, facts.n // 10),
        seed=facts.seed,
        freeze=("all",),
        views=2 if facts.mirror else 1,
    )

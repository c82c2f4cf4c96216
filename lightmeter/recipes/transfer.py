"""Recipes that start from trained weights."""

from __future__ import annotations

from lightmeter.nouns.recipe import AugmentChoice, Loss, ModelChoice, Optimizer, Recipe, Schedule
from lightmeter.recipes.facts import Facts

_WITH_DROPOUT = ("mobilenet_v2", "inception_v3", "vgg16", "vgg19", "compact_cnn")
"""Architectures whose head takes the option `dropout`."""

_EARLY = {"mobilenet_v2": ("stem", "block1", "block2", "block3")}
"""Blocks near the input that fine-tuning leaves as they are, of the architectures for which that was measured: at 160
pixels a step without them was 1.6 times as fast, and one seed at 224 showed no loss (docs/LOG.md)."""

_MIRRORED_BELOW = 400
"""Training pictures, below which a head is trained on features of their mirror images too. Of more of them that cost a
second pass through the network and brought nothing (docs/LOG.md)."""


def probe(facts: Facts, *, epochs: float, model: ModelChoice, start: str) -> Recipe:
    """The backbone frozen, its features computed once, a linear head trained on them with AdamW.

    Dropout is what keeps the head from learning its few thousand pictures by heart. So the last epoch is no worse than
    the best by validation, which is chosen among many that differ by a few pictures (docs/LOG.md).

    `lightmeter train imagenette --budget 1m --start mobilenet_v2_1.0_imagenet_backbone.safetensors`
    """
    return Recipe(
        model=_with_dropout(model, 0.8),
        start=start,
        preprocess=facts.preprocess,
        optimizer=Optimizer(name="adamw", lr=2e-3, bias_lr=2e-3, head_lr=2e-3, weight_decay=0.05),
        schedule=Schedule(name="cosine", warmup=0.05),
        epochs=epochs,
        batch_size=256 if facts.n >= 2_560 else max(8, facts.n // 10),
        seed=facts.seed,
        freeze=("all",),
        keep="last",
        feature_mirror=_mirrored(facts),
        views=2 if facts.mirror else 1,
    )


def finetune(facts: Facts, *, epochs: float, model: ModelChoice, start: str) -> Recipe:
    """First the head alone on cached features, then everything with AdamW at a low rate, lower still near the input.

    A head that starts from noise would push good features about before it has learned anything (Kumar et al.,
    "Fine-tuning can distort pretrained features", 2022); one that has learned does not. BatchNorm stays as the weights
    have it: with the statistics of small batches a short fine-tuning ends below the head alone. So do the blocks that
    see edges and colours, where most of the time of a step would go.

    `lightmeter train imagenette --budget 10m --start mobilenet_v2_1.0_imagenet_backbone.safetensors`
    """
    rate = 1e-4
    augment = [AugmentChoice(name="flip")] if facts.mirror else []
    return Recipe(
        model=_with_dropout(model, 0.2),
        start=start,
        preprocess=facts.preprocess,
        augment=tuple(augment),
        loss=Loss(label_smoothing=0.1),
        optimizer=Optimizer(name="adamw", lr=rate, bias_lr=rate, head_lr=rate, weight_decay=0.05),
        schedule=Schedule(name="cosine", warmup=0.1),
        epochs=epochs,
        batch_size=64 if facts.n >= 640 else max(8, facts.n // 10),
        seed=facts.seed,
        freeze=("batchnorm", *_EARLY.get(model.name, ())),
        probe_epochs=30.0,
        feature_mirror=_mirrored(facts),
        views=2 if facts.mirror else 1,
    )


def _with_dropout(model: ModelChoice, dropout: float) -> ModelChoice:
    if model.name not in _WITH_DROPOUT:
        return model
    return model.model_copy(update={"options": {**model.options, "dropout": dropout}})


def _mirrored(facts: Facts) -> bool:
    return facts.mirror and facts.n < _MIRRORED_BELOW

"""What several studies share: sizes for each scale, recipes with published settings, and our own for any network."""

from __future__ import annotations

from typing import TypeVar

from lightmeter.nouns.recipe import AugmentChoice, BatchNorm, Loss, ModelChoice, Optimizer, Recipe, Schedule
from lightmeter.recipes import RECIPES, Facts
from lightmeter.studies.base import MakeRecipe, Pictures, Scale

T = TypeVar("T")

SEEDS: dict[Scale, tuple[int, ...]] = {"smoke": (0,), "cpu": (0, 1, 2), "full": (0, 1, 2)}

SMOKE = (
    "a handful of pictures, one epoch, large networks at a quarter of their width: it shows that every part runs, "
    "and no figure of it means anything."
)
"""What every study leaves out at the scale of tests."""

MOBILENET = "mobilenet_v2_1.0_imagenet_backbone"
"""Start weights trained on ImageNet, pixels scaled by its mean and deviation."""

TWO_CLASSES = (
    ("goldfish", "school bus"),
    ("king penguin", "orange"),
    ("sports car", "teapot"),
    ("African elephant", "lion"),
    ("tabby", "Persian cat"),
)
"""Pairs of Tiny ImageNet's classes from far to near kin: an animal and a vehicle; a bird and a fruit; two things; two
mammals; two cats. Fixed before any of them was trained on."""


def at(scale: Scale, *, full: T, cpu: T, smoke: T) -> T:
    """The value for a scale."""
    return {"full": full, "cpu": cpu, "smoke": smoke}[scale]


def width(scale: Scale, cpu: float = 1.0) -> float:
    """Of a network that would be too large for the scale of tests."""
    return at(scale, full=1.0, cpu=cpu, smoke=0.25)


def tiny(scale: Scale, *, size: int = 32, test_share: float = 0.3, cpu: int = 0, test: int = 0) -> Pictures:
    """Tiny ImageNet as the publication drew it: 70,000 of the training part to learn from, 30,000 to test on.

    Args:
        size: side in pixels.
        test_share: of the training part.
        cpu, test: pictures to learn from and to test on at most, at the scale `cpu`; 0 is all.
    """
    if scale == "smoke":
        some = tuple(name for pair in TWO_CLASSES for name in pair)
        return Pictures("tiny-imagenet", size, classes=some, test_share=test_share, train_limit=100, test_limit=60)
    limit, scored = (cpu, test) if scale == "cpu" else (0, 0)
    return Pictures("tiny-imagenet", size, test_share=test_share, train_limit=limit, test_limit=scored)


def cifar(scale: Scale, *, cpu: int = 0) -> Pictures:
    """CIFAR-10 and its own test part; at the scale `cpu` at most so many pictures to learn from (0 is all)."""
    some = at(scale, full=0, cpu=cpu, smoke=100)
    return Pictures("cifar10", 32, train_limit=some, test_limit=at(scale, full=0, cpu=0, smoke=60))


def faithful(
    model: str,
    *,
    options: dict[str, int | float | bool | str] | None = None,
    width: float = 1.0,
    lr: float = 1e-3,
    batch_size: int = 64,
    l2: float = 0.0,
    freeze: tuple[str, ...] = (),
    batchnorm: BatchNorm = "frozen",
) -> MakeRecipe:
    """As student projects train: Adam at a constant rate, no augmentation, hard labels, one view, the last weights.

    Args:
        model: a name in `MODELS`.
        options, width: of the model.
        lr: of Adam, for every parameter.
        batch_size: in pictures.
        l2: as Keras' kernel regulariser.
        freeze, batchnorm: see `Recipe`.
    """

    def make(facts: Facts, epochs: float) -> Recipe:
        return Recipe(
            model=ModelChoice(name=model, width=width, options=options or {}),
            preprocess=facts.preprocess,
            loss=Loss(l2=l2),
            optimizer=Optimizer(name="adam", lr=lr, bias_lr=lr, head_lr=lr),
            schedule=Schedule(name="constant"),
            epochs=epochs,
            batch_size=batch_size,
            seed=facts.seed,
            freeze=freeze,
            batchnorm=batchnorm,
            keep="last",
        )

    return make


def fast(width: float = 1.0, *, views: int = 6) -> MakeRecipe:
    """Our quickest way from random weights, `lightmeter.recipes.scratch.fast`, with at most so many views."""

    def make(facts: Facts, epochs: float) -> Recipe:
        recipe = RECIPES["fast"](facts, epochs=epochs, width=width)
        return recipe.model_copy(update={"views": min(recipe.views, views)})

    return make


def moves(facts: Facts) -> tuple[AugmentChoice, ...]:
    """Mirror images where they still show their class, and shifts by up to an eighth of the side."""
    flip = (AugmentChoice(name="flip"),) if facts.mirror else ()
    return (*flip, AugmentChoice(name="shift", options={"pixels": max(1, round(facts.preprocess.size / 8))}))


def one_cycle(
    model: str,
    *,
    options: dict[str, int | float | bool | str] | None = None,
    width: float = 1.0,
    lr: float = 3e-3,
    muon: bool = False,
    probe_epochs: float = 0.0,
    layer_decay: float = 1.0,
    freeze: tuple[str, ...] = (),
) -> MakeRecipe:
    """Our training of a network that others designed: one cycle, moved pictures, smoothed labels, two views.

    Args:
        model: a name in `MODELS`.
        options, width: of the model.
        lr: peak rate of AdamW.
        muon: Muon for filters and matrices and SGD for the rest, instead of AdamW.
        probe_epochs, layer_decay, freeze: see `Recipe` and `Optimizer`.
    """
    optimizer = Optimizer(name="adamw", lr=lr, bias_lr=lr, head_lr=lr, weight_decay=0.05, layer_decay=layer_decay)
    if muon:
        optimizer = Optimizer(
            name="muon", lr=0.1, bias_lr=0.05, head_lr=0.05, weight_decay=1e-4, layer_decay=layer_decay
        )

    def make(facts: Facts, epochs: float) -> Recipe:
        return Recipe(
            model=ModelChoice(name=model, width=width, options=options or {}),
            preprocess=facts.preprocess,
            augment=() if freeze == ("all",) else moves(facts),  # features are computed once, of pictures as they are
            loss=Loss(label_smoothing=0.1),
            optimizer=optimizer,
            schedule=Schedule(name="linear" if muon else "cosine", warmup=0.2),
            epochs=epochs,
            batch_size=128 if facts.n >= 1280 else max(8, facts.n // 20),
            seed=facts.seed,
            freeze=freeze,
            probe_epochs=probe_epochs,
            views=2 if facts.mirror else 1,
        )

    return make

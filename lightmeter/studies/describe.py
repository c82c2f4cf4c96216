"""A study -> what its arms are and how many values each network holds, without pictures and without training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from lightmeter.errors import UsageError
from lightmeter.models import build_model
from lightmeter.models.base import freeze
from lightmeter.models.table import Counts, count
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes import Facts
from lightmeter.studies.base import Arm, Scale, Study

SETS = {
    "digits": (10, 1_437),
    "cifar10": (10, 50_000),
    "fashion-mnist": (10, 60_000),
    "imagenette": (10, 9_469),
    "tiny-imagenet": (200, 100_000),
}
"""Named set -> its classes, and the pictures of its training part."""


def describe(study: Study, scale: Scale = "full") -> dict[str, Any]:
    """{"study", "published", "arms": [{"name", "role", "total", "trainable", "non_trainable", ...}]}.

    An arm that takes over the best of others has no counts before they are trained: they are None.

    Raises:
        UsageError: an arm on a source that has no name, whose classes only its pictures tell.
    """
    arms = []
    for arm in study.arms(scale):
        counts = None if arm.best_of else counts_of(arm)
        arms.append(
            {
                "name": arm.name,
                "role": arm.role,
                "total": None if counts is None else counts.total,
                "trainable": None if counts is None else counts.trainable,
                "non_trainable": None if counts is None else counts.non_trainable,
                "epochs": arm.epochs or None,
                "seconds": arm.seconds or None,
                "start": arm.start,
                "published": arm.published,
                "pictures": asdict(arm.pictures),
                "note": arm.note,
            }
        )
    return {
        "study": study.name,
        "title": study.title,
        "question": study.question,
        "scale": scale,
        "published": dict(study.published),
        "seeds": list(study.seeds[scale]),
        "left_out": study.left_out.get(scale, ""),
        "arms": arms,
    }


def counts_of(arm: Arm, *, num_classes: int = 0) -> Counts:
    """Values of an arm's network as its recipe freezes it.

    Args:
        num_classes: K, where the source has no name that tells it.
    """
    recipe = recipe_of(arm, num_classes=num_classes)
    classes = num_classes or _classes(arm)
    with torch.device("meta"):  # shapes only: nothing is allocated or drawn
        model = build_model(recipe.model, classes, channels=recipe.preprocess.channels, size=recipe.preprocess.size)
    freeze(model, recipe.freeze)
    return count(model)


def recipe_of(arm: Arm, *, num_classes: int = 0) -> Recipe:
    """An arm's recipe as far as it is known without its pictures."""
    pictures = arm.pictures
    n = SETS.get(pictures.source, (0, 1_000))[1]
    n = round(n * (1 - pictures.test_share))
    n = min(n, pictures.train_limit) if pictures.train_limit else n
    preprocess = Preprocess.model_validate({"size": pictures.size, "channels": pictures.channels})
    return arm.recipe(Facts(n, num_classes or _classes(arm), preprocess, True, 0), arm.epochs or 1.0)


def _classes(arm: Arm) -> int:
    pictures = arm.pictures
    if pictures.classes:
        return len(pictures.classes)
    if pictures.source not in SETS:
        raise UsageError(
            f"How many classes {pictures.source} has is not known before its pictures are opened.",
            "one of " + ", ".join(SETS),
        )
    return SETS[pictures.source][0]

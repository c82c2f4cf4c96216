"""transfer: how a trained backbone runs and trains fastest here, and what the budget leaves time to do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lightmeter.models.base import freeze
from lightmeter.models.fused import fused
from lightmeter.models.pretrained import load_start
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.choose_extraction import choose_extraction
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.finish import finish_seconds
from lightmeter.verbs.fit import training_mode
from lightmeter.verbs.measure import measure_training
from lightmeter.verbs.measurement import Measurement
from lightmeter.verbs.meter import build_prepared, execution_sentence, too_short, training_rate
from lightmeter.verbs.plan import Plan

_HEAD_EPOCHS = 30.0  # of a linear head on cached features: a few seconds
HEAD_SECONDS = 2.0
"""That a head is left at least."""

_LEAST_EPOCHS = 1.5  # of fine-tuning, below which the head alone is the better use of the time
_MOST_EPOCHS = 30.0  # after which more was not seen to help
_MARGIN = 0.93  # of the measured speed is planned with; the rest is for validation, saving and noise

Make = Callable[[float], Recipe]
"""epochs -> Recipe."""


def plan_transfer(
    makes: Mapping[str, Make],
    start: Path,
    pixels: Tensor,
    labels: Tensor,
    batches: Callable[[Recipe], Batches],
    images: int,
    *,
    num_classes: int,
    scored: int,
    clock: Clock,
    epochs: float | None,
    views_asked_for: bool = False,
    progress: Progress = SILENT,
) -> Plan:
    """Measure, then plan fine-tuning where the budget leaves time for it, else the head alone.

    Args:
        makes: recipe by name: "finetune", "probe" or both, to choose among.
        start: file of start weights.
        pixels, labels: some training images uint8[M, S, S, C] and their labels int64[M].
        batches: Recipe -> its training batches.
        images: whose features are needed (train and val).
        scored: images that are scored after training.
        views_asked_for: whether the user set the recipe's views for scoring; else a short budget makes do with 1.
        progress: is told of each measurement.

    Raises:
        BudgetError: nothing fits; the message says what would.
    """
    inputs, measurements = pixels[:64], []
    recipe = next(iter(makes.values()))(epochs or 1.0)
    model = build_prepared(recipe, num_classes, pixels)
    load_start(model, start)
    quick = fused(model, inputs[:4])
    share = clock.budget or 300.0
    views = images * recipe.views_for_features
    extraction = choose_extraction(
        quick, inputs, views, seconds=min(6.0, 0.02 * share), cache=cache_folder(), progress=progress
    )
    features_by, found, speed = extraction.execution, extraction.measurements, extraction.rate
    measurements += found
    feature_seconds = views / speed

    def ending(tested: Literal[1, 2, 6]) -> tuple[float, float | None, str]:
        """Seconds after training where each picture is scored in so many views, until when to train, and that said."""
        rate = extraction.scoring_rate(quick, inputs, tested, seconds=min(2.0, 0.01 * share))
        # No margin: the speed was measured in the way that will score, or in a slower one where no graph was tried. And
        # what is kept for export and report has some to spare.
        finish = finish_seconds(extraction.export_seconds(quick), scored, rate, margin=1.0)
        kept = f"{finish:.0f} s are kept for export, the exam, scoring {scored:,} images and the report."
        return finish, None if clock.budget is None else clock.budget - finish, kept

    finish, until, kept = ending(recipe.views)

    if "finetune" in makes and _worth_measuring(until, clock, feature_seconds, images / speed):
        recipe = makes["finetune"](epochs or 1.0)
        tuned = build_prepared(recipe, num_classes, pixels)
        load_start(tuned, start)
        frozen = freeze(tuned, recipe.freeze)
        batch = min(recipe.batch_size, len(pixels))
        execution, ways = measure_training(
            tuned,
            pixels[:batch],
            labels[:batch],
            batch,
            seconds=min(10.0, 0.02 * share),
            mode=lambda module: training_mode(module, frozen, recipe.batchnorm),
            cache=cache_folder(),
            progress=progress,
        )
        measurements += ways
        train = training_rate(tuned, recipe, batches(recipe), execution, seconds=0.01 * share, frozen=frozen)
        measurements.append(Measurement("training, whole step", train, 0.0, True))
        n = batches(recipe).n
        needed = feature_seconds if recipe.probe_epochs else 0.0
        left = None if until is None else until - clock.elapsed - 1.1 * needed
        possible = epochs or _MOST_EPOCHS if left is None else _MARGIN * train * max(0.0, left) / n
        if possible >= (epochs or _LEAST_EPOCHS):
            chosen = epochs or min(possible, _MOST_EPOCHS)
            what = (
                f"The head is trained first, on features that take about {needed:.0f} s; then everything, at about "
                f"{train:,.0f} images/s, for {chosen:.1f} epochs."
            )
            sentences = (execution_sentence(execution, ways), what, kept)
            elastic = epochs is None and chosen < _MOST_EPOCHS
            return Plan(
                makes["finetune"](chosen), execution, until, elastic, tuple(measurements), sentences, features_by
            )
        if "probe" not in makes:
            least = clock.elapsed + 1.1 * needed + 1.1 * (epochs or _LEAST_EPOCHS) * n / (_MARGIN * train) + finish
            raise too_short(clock, f"{epochs or _LEAST_EPOCHS:g} epochs of fine-tuning", least)

    if "probe" not in makes:
        raise too_short(clock, "fine-tuning", clock.elapsed + 6 * feature_seconds + finish)
    recipe = makes["probe"](epochs or _HEAD_EPOCHS)

    def fits() -> bool:
        return until is None or clock.elapsed + feature_seconds + HEAD_SECONDS <= until

    if not fits() and recipe.views > 1 and not views_asked_for:
        recipe = recipe.model_copy(update={"views": 1})
        finish, until, kept = ending(1)
        kept += " For a second view of each the budget is too short."
    if not fits():
        least = clock.elapsed + 1.1 * feature_seconds + HEAD_SECONDS + finish
        raise too_short(clock, f"the features of {views:,} views", least)
    what = (
        f"The features of {views:,} views take about {feature_seconds:.0f} s, once; then the head is trained on them."
    )
    sentences = (execution_sentence(features_by, found), what, kept)
    by_torch = replace(features_by, engine="torch", threads=torch.get_num_threads())  # which trains the head
    execution = features_by if features_by.engine == "torch" else by_torch
    return Plan(recipe, execution, until, False, tuple(measurements), sentences, features_by)


def _worth_measuring(until: float | None, clock: Clock, feature_seconds: float, one_view: float) -> bool:
    """Whether fine-tuning could fit at all: an epoch costs at least three times what features of one view do."""
    if until is None:
        return True
    return clock.elapsed + feature_seconds + 3 * _LEAST_EPOCHS * one_view < until

"""transfer: how a frozen, trained backbone runs fastest here, and what training a head on its features will take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from lightmeter.models.base import Model
from lightmeter.models.fused import fused
from lightmeter.models.pretrained import load_start
from lightmeter.models.views import MultiView
from lightmeter.nouns.recipe import Recipe
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.measure import Measurement, inference_rate, measure_inference
from lightmeter.verbs.meter import Plan, build_prepared, execution_sentence, finish_seconds, too_short

_HEAD_EPOCHS = 50.0  # of a linear head on cached features: a few seconds


def plan_transfer(
    make: Callable[[float, float], Recipe],
    start: Path,
    inputs: Tensor,
    images: int,
    *,
    num_classes: int,
    scored: int,
    clock: Clock,
    epochs: float | None,
) -> Plan:
    """Measure how the frozen backbone runs fastest; its head trains in seconds, so epochs are a constant.

    Args:
        make: (epochs, width) -> Recipe.
        inputs: some training images, uint8[N, S, S, C].
        images: whose features are needed.
        scored: images that are scored after training.

    Raises:
        BudgetError: the features do not fit; the message says what would.
    """
    recipe = make(epochs or _HEAD_EPOCHS, 1.0)
    model = build_prepared(recipe, num_classes, inputs)
    load_start(model, start)
    model = fused(model, inputs[:4])
    share = clock.budget or 300.0
    execution, measurements = measure_inference(model, inputs, _features, seconds=min(6.0, 0.02 * share))
    served = Execution("cpu", "float32", "channels_last", len(inputs), execution.threads)
    rate = inference_rate(MultiView(model, recipe.views), inputs, served, seconds=min(2.0, 0.01 * share))
    measurements.append(Measurement(f"scoring, float32, {recipe.views} views", rate, 0.0, True))
    speed = max(found.images_per_second for found in measurements[:-1] if found.accepted)
    images *= recipe.views
    finish = finish_seconds(scored, rate)
    sentences = (
        execution_sentence(execution, measurements[:-1]),
        f"The features of {images:,} views take about {images / speed:.0f} s, once; then the head is trained on them.",
        f"{finish:.0f} s are kept for export, the exam, scoring {scored:,} images and the report.",
    )
    until = None if clock.budget is None else clock.budget - finish
    if until is not None and clock.elapsed + 1.1 * images / speed > until:
        least = clock.elapsed + 1.2 * images / speed + finish
        raise too_short(clock, f"the features of {images:,} views", least)
    return Plan(recipe, execution, until, False, tuple(measurements), sentences)


def _features(module: nn.Module, pixels: Tensor) -> Tensor:
    assert isinstance(module, Model)
    return module.features(pixels)

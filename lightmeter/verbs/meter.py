"""meter: measure this machine and these data, then choose what to train so that everything ends inside the budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightmeter.errors import BudgetError
from lightmeter.exporters.onnx import export_seconds
from lightmeter.models import build_model
from lightmeter.models.base import Model
from lightmeter.models.fused import fused
from lightmeter.models.views import MultiView
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.optim import build_optimizer
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.evaluate import AT_ONCE
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.finish import finish_seconds, least_finish_seconds
from lightmeter.verbs.fit import steps, training_mode
from lightmeter.verbs.measure import inference_rate, measure_training
from lightmeter.verbs.measurement import Measurement
from lightmeter.verbs.plan import Plan
from lightmeter.verbs.state import Counters, State

WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
_LOOKING = 0.2  # of the budget may go into looking for a width: on a machine that is busy, each look takes its time
_FEW_EPOCHS = 3.0  # where a width leaves time for no more, the narrowest is looked at in any case
_LOOK_STEPS = 3  # of training in a look, about
_COST_OF_WIDTH = 1.5  # the power of the width with which a step's time grows, roughly: where to begin to look
_LEAST_COST = 1.0  # that power at least: as values grow
_MOST_COST = 2.6  # and at most: products grow as the square, those by which Muon steps as the third power
_MARGIN = 0.95  # of the measured speed is planned with; the rest is for validation, saving and noise


@dataclass(frozen=True, slots=True)
class _Option:
    """A width, how fast it trains, and the seconds to keep for what comes after."""

    width: float
    images_per_second: float
    finish: float


Promise = Callable[[float, float], float]
"""(width, epochs) -> the validation error, 0..1, that such a training ends with; see `recipes.curves`."""


def meter(
    make: Callable[[float, float], Recipe],
    batches: Callable[[Recipe], Batches],
    pixels: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    scored: int,
    clock: Clock,
    epochs: float | None,
    promise: Promise,
    widths: Sequence[float] = WIDTHS,
    progress: Progress = SILENT,
) -> Plan:
    """Measure training speed, precision and layout on real batches, then choose width and epochs.

    Args:
        make: (epochs, width) -> Recipe.
        batches: Recipe -> its training batches.
        pixels, labels: some training images uint8[M, S, S, C] and their labels int64[M].
        scored: images that are scored after training (validation and test).
        epochs: as the user asked; None leaves them to the meter, which then needs a budget.
        promise: what each width and number of epochs is worth.
        widths: that may be chosen among.
        progress: is told of each measurement.

    Raises:
        BudgetError: not even one epoch of the smallest network fits; the message says what would.
    """
    probe = make(1.0, widths[0] if len(widths) == 1 else 1.0)
    n = batches(probe).n
    batch = min(probe.batch_size, n)
    inputs, targets = pixels[:batch], labels[:batch]
    share = 30.0 if clock.budget is None else clock.budget
    model = build_prepared(probe, num_classes, pixels)
    execution, measurements = measure_training(
        model, inputs, targets, batch, seconds=min(8.0, 0.02 * share), cache=cache_folder(), progress=progress
    )
    sentences = [execution_sentence(execution, measurements)]
    if clock.budget is None:
        assert epochs is not None
        sentences.append(f"Asked for: {_epochs(epochs)}, without a limit of time.")
        return Plan(make(epochs, probe.model.width), execution, None, False, tuple(measurements), tuple(sentences))

    least_epochs = epochs or 1.0
    options: dict[float, _Option] = {}

    def expected(width: float, possible: float) -> float:
        """The error that a width promises; above 1 where there is no time for the epochs that were asked for."""
        if possible < least_epochs:
            return 2.0 - possible / least_epochs
        return promise(width, epochs or possible)

    def possible(option: _Option) -> float:
        """Epochs for which there is time as of now."""
        assert clock.budget is not None
        return max(0.0, _MARGIN * option.images_per_second * (clock.budget - option.finish - clock.elapsed) / n)

    def error(width: float) -> float:
        return expected(width, possible(options[width]))

    def hopeless(width: float) -> bool:
        """Whether it promises no fewer errors than its measured neighbour however little its steps may cost."""
        known = options[widths[place]]
        power = _LEAST_COST if width > known.width else _MOST_COST
        finish = known.finish if width > known.width else least_finish_seconds()
        best = _Option(width, known.images_per_second * (known.width / width) ** power, finish)
        return expected(width, possible(best)) >= error(known.width)

    def consider(width: float) -> None:
        """Measure a width."""
        recipe = make(1.0, width)
        candidate = build_prepared(recipe, num_classes, pixels)
        # The exported graph runs on the processor, so that is where scoring is timed.
        plain = Execution("cpu", "float32", "channels_last", execution.micro_batch, execution.threads)
        infer = inference_rate(
            MultiView(fused(candidate, inputs[:4]), recipe.views), inputs[:AT_ONCE], plain, seconds=0.003 * share
        )
        train = training_rate(candidate, recipe, batches(recipe), execution, seconds=0.006 * share)
        for what, rate in (
            (f"scoring, width {width:g}, float32, {recipe.views} views", infer),
            (f"training, width {width:g}, whole step", train),
        ):
            measurements.append(Measurement(what, rate, 0.0, True))
            progress.say(measurements[-1].sentence())
        options[width] = _Option(width, train, finish_seconds(export_seconds(candidate), scored, infer))

    first = max(one.images_per_second for one in measurements if one.accepted)

    def guessed(width: float) -> float:
        """Images per second, by the measured width that is nearest."""
        known = {probe.model.width: first} | {one.width: one.images_per_second for one in options.values()}
        nearest = min(known, key=lambda other: abs(math.log(other / width)))
        return float(known[nearest] * (nearest / width) ** _COST_OF_WIDTH)

    until = clock.elapsed + _LOOKING * clock.budget

    def affordable(width: float) -> bool:
        """Whether a look will have ended by then."""
        return clock.elapsed + (_LOOK_STEPS * batch + AT_ONCE * probe.views) / guessed(width) < until

    # From the width that the first measurement suggests, on to wider or else to narrower ones while it gets better.
    left = max(0.0, clock.budget - until - least_finish_seconds())
    likely = {width: expected(width, guessed(width) * left / n) for width in widths if affordable(width)}
    place = widths.index(min(likely, key=lambda width: (likely[width], width), default=widths[0]))
    consider(widths[place])
    for step in (1, -1):
        moved = False
        while 0 <= place + step < len(widths) and affordable(widths[place + step]):
            if hopeless(widths[place + step]):
                break
            consider(widths[place + step])
            if error(widths[place + step]) >= error(widths[place]):
                break
            place, moved = place + step, True
        if moved:
            break
    if possible(options[widths[place]]) < max(_FEW_EPOCHS, least_epochs):
        if widths[0] not in options:
            consider(widths[0])  # whatever the clock says: without it there may be nothing to train
        place = min((0, place), key=lambda place: error(widths[place]))
    found, count = options[widths[place]], possible(options[widths[place]])
    width, train, finish = found.width, found.images_per_second, found.finish
    if count < least_epochs:
        least = clock.elapsed + finish + 1.1 * least_epochs * n / (_MARGIN * train)
        raise too_short(clock, f"{_epochs(least_epochs)} of {n:,} images", least)
    chosen = epochs if epochs is not None else count
    sentences.append(
        f"Training runs at about {train:,.0f} images/s at width {width:g}; the {clock.budget:.0f} s leave time for "
        f"{count:.1f} epochs, of which {chosen:.1f} are planned."
    )
    if len(options) > 1:
        looked = ", ".join(f"{option:g}" for option in sorted(options))
        sentences.append(
            f"Of the widths {looked} this one promises the fewest errors, by learning curves that were measured before "
            "with the recipe fast."
        )
    sentences.append(f"{finish:.0f} s are kept for export, the exam, scoring {scored:,} images and the report.")
    until = clock.budget - finish
    return Plan(make(chosen, width), execution, until, epochs is None, tuple(measurements), tuple(sentences))


def training_rate(
    model: Model,
    recipe: Recipe,
    batches: Batches,
    execution: Execution,
    *,
    seconds: float,
    frozen: tuple[str, ...] = (),
) -> float:
    """Images per second of the real training loop: input, augmentation, network and optimizer. Uses `model` up.

    Args:
        frozen: names of the model's layers that were frozen.
    """
    execution.place(model)
    training_mode(model, frozen, recipe.batchnorm)
    optimizers = build_optimizer(model, recipe.optimizer)
    state = State(model, optimizers, None, Counters(remaining=1e12, micro_batch=execution.micro_batch))
    times: list[float] = []
    images = 0
    with execution.pool():
        warm_up = 2
        for number, step in enumerate(steps(state, recipe, batches, execution)):
            if number == 0 and step.seconds > 0.1 * seconds:
                warm_up = 1  # steps so long have long warmed up
            if number < warm_up:
                continue
            times.append(step.seconds)
            images = step.images
            if (len(times) >= 3 and sum(times) > seconds) or sum(times) > 3 * seconds:
                break
    return images / sorted(times)[len(times) // 2]


def build_prepared(recipe: Recipe, num_classes: int, pixels: Tensor) -> Model:
    """The recipe's model with its seed's random weights, and what it takes from training images uint8[N, S, S, C]."""
    with torch.random.fork_rng(devices=[]):  # the builders draw from the global generator; give it back as it was
        torch.manual_seed(recipe.seed)
        model = build_model(recipe.model, num_classes, channels=recipe.preprocess.channels, size=recipe.preprocess.size)
    model.prepare(pixels)
    return model


def too_short(clock: Clock, what: str, least: float) -> BudgetError:
    """The error for a budget in which `what` does not fit, with the seconds that would do."""
    spent = f"reading and measuring took {clock.elapsed:.0f} s of it"
    return BudgetError(
        f"The budget of {clock.budget:.0f} s is too short for {what}: {spent}.",
        f"at least {math.ceil(least / 5) * 5} s on this machine",
        "give a longer --budget, or fewer or smaller images.",
    )


def execution_sentence(execution: Execution, measurements: list[Measurement]) -> str:
    """Why this execution was chosen, in words."""
    if len(measurements) == 1:
        return f"{measurements[0].what} is good enough: the work is over before other ways could be tried."
    plain = measurements[0].images_per_second
    best = max(m.images_per_second for m in measurements if m.accepted)
    gain = best / plain
    worth = f"{gain:.1f} times as fast as plain float32" if gain >= 1.05 else "nothing was faster than plain float32"
    return f"Of {len(measurements)} ways tried the best that computes the right thing is {execution.words}: {worth}."


def _epochs(count: float) -> str:
    return f"{count:g} epoch" + "s" * (count != 1)

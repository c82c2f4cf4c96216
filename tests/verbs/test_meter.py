"""Measuring and planning: what is measured is right, what is planned fits, what cannot fit is said."""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lightmeter.errors import BudgetError
from lightmeter.exporters.onnx import EXPORT_SECONDS
from lightmeter.models import build_model
from lightmeter.models.base import freeze
from lightmeter.nouns.progress import Silent
from lightmeter.nouns.recipe import ModelChoice, Recipe
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.finish import finish_seconds
from lightmeter.verbs.measure import measure_inference, measure_training
from lightmeter.verbs.measurement import Measurement
from lightmeter.verbs.meter import build_prepared, meter
from lightmeter.verbs.mirror import measure_mirror
from lightmeter.verbs.plan import Plan
from tests.verbs.learning import DigitBatches, pixels, recipe


def make(epochs: float, width: float) -> Recipe:
    """The small recipe of these tests."""
    return recipe(epochs=epochs, model=ModelChoice(name="whitened", width=width))


def plan(budget: float | None, epochs: float | None = None) -> Plan:
    """A plan for the 128 digits."""
    images, labels = pixels()
    return meter(
        make,
        DigitBatches,
        images,
        labels,
        num_classes=10,
        scored=60,
        clock=Clock(time.monotonic(), budget),
        epochs=epochs,
        promise=wider_is_better,
        widths=(0.25, 0.5),
    )


def wider_is_better(width: float, epochs: float) -> float:
    """Errors of a set where three epochs are worth as much as twice the width."""
    return 0.5 / (1 + width * max(0.0, epochs) ** 0.63)


def test_a_plan_leaves_room_for_what_comes_after_training() -> None:
    made = plan(40.0)
    assert made.train_until is not None
    assert 0 < made.train_until <= 40 - finish_seconds(EXPORT_SECONDS, 60, 1e9)
    assert made.recipe.epochs > 1
    assert made.elastic
    assert any("images/s" in sentence for sentence in made.sentences)
    assert all(measurement.images_per_second > 0 for measurement in made.measurements)
    assert Plan.parse(made.document(), made.recipe) == made


def test_epochs_that_were_asked_for_are_planned_as_they_are() -> None:
    assert plan(40.0, epochs=2.0).recipe.epochs == 2
    assert not plan(40.0, epochs=2.0).elastic
    without = plan(None, epochs=7.0)
    assert (without.recipe.epochs, without.train_until) == (7, None)


def test_a_budget_too_short_says_the_least_that_works() -> None:
    with pytest.raises(BudgetError, match="too short for 1 epoch of 128 images") as caught:
        plan(1.0)
    least = re.search(r"at least (\d+) s", str(caught.value))
    assert least is not None
    assert 10 <= int(least[1]) <= 60


class _Rounds(nn.Module):
    """Right in float32, wrong wherever autocast is on."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs.float().flatten(1) / 255)
        return -logits if torch.is_autocast_enabled("cpu") else logits


class _TurnsBack(torch.autograd.Function):
    """The identity whose gradient has the wrong sign wherever autocast was on."""

    @staticmethod
    def forward(context: Any, inputs: Tensor) -> Tensor:
        context.wrong = torch.is_autocast_enabled("cpu")
        return inputs.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return -gradient if context.wrong else gradient


class _WrongBackward(nn.Module):
    """Right outputs everywhere, wrong gradients of its first layer wherever autocast is on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden: Tensor = _TurnsBack.apply(self.first(inputs.float().flatten(1) / 255))  # type: ignore[no-untyped-call]
        logits: Tensor = self.last(hidden.relu())
        return logits


@pytest.mark.parametrize("module", [_Rounds, _WrongBackward])
def test_an_execution_that_computes_the_wrong_thing_is_refused_however_fast(module: type[nn.Module]) -> None:
    class Heard(Silent):
        said: ClassVar[list[str]] = []

        def say(self, text: str) -> None:
            self.said.append(text)

    images, labels = pixels()
    execution, found = measure_training(module(), images, labels, 64, seconds=0.2, progress=Heard())
    assert execution.dtype == "float32"
    assert Heard.said == [measurement.sentence() for measurement in found]
    refused = [measurement for measurement in found if not measurement.accepted]
    assert refused
    assert all("bfloat16" in measurement.what and "refused" in measurement.note for measurement in refused)


class _Emulated(nn.Module):
    """Right everywhere, but slow for each picture wherever autocast is on; counts the pictures it saw there."""

    seen = 0

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            until = time.process_time() + 0.02 * len(inputs)
            while time.process_time() < until:  # busy, as an emulation is
                pass
            _Emulated.seen += len(inputs)
        logits: Tensor = self.net(inputs.float().flatten(1) / 255)
        return logits


def test_a_precision_that_is_only_emulated_is_left_after_a_few_images() -> None:
    images, labels = pixels()
    _Emulated.seen = 0
    execution, found = measure_training(_Emulated(), images, labels, 128, seconds=0.2)
    assert execution.dtype == "float32"
    left = [measurement for measurement in found if "bfloat16" in measurement.what]
    assert len(left) == 1  # the other layout need not be tried
    assert not left[0].accepted
    assert "times slower than float32" in left[0].note
    assert _Emulated.seen == 8  # a call of eight, not one of 128


class _Stalled(nn.Module):
    """Right everywhere; wherever autocast is on it waits, as on a busy machine."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(64, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            time.sleep(0.1)
        logits: Tensor = self.net(inputs.float().flatten(1) / 255)
        return logits


def test_waiting_for_the_processor_is_not_taken_for_an_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = pixels()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # others spin while one sleeps
    _, found = measure_training(_Stalled(), images, labels, 128, seconds=0.2)
    assert all(measurement.accepted for measurement in found), [measurement.note for measurement in found]


def test_dropout_does_not_make_executions_differ() -> None:
    images, labels = pixels()
    torch.manual_seed(0)
    dropping = nn.Sequential(_Scaled(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10))
    _, found = measure_training(dropping, images, labels, 128, seconds=0.2)
    assert all(measurement.accepted for measurement in found), [measurement.note for measurement in found]
    assert max(measurement.max_error for measurement in found) < 0.02
    assert dropping[3].training


class _Scaled(nn.Module):
    """Bytes to flat values from 0 to 1."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float().flatten(1) / 255


@pytest.mark.parametrize(("few", "many"), [(1.0, 4.0), (0.25, 4.0)])
def test_the_width_is_the_one_that_promises_most_at_the_deadline(
    few: float, many: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the first measurement suggests a network that is too wide or too narrow."""
    images, labels = pixels()

    def slow(model: nn.Module, recipe: Recipe, *rest: object, **options: object) -> float:
        return 20.0 / recipe.model.width**2

    def promise(width: float, epochs: float) -> float:
        """A wide network is better once it had its epochs, and worse before."""
        return 0.5 - 0.1 * min(epochs / 10, 1.0) * math.log2(8 * width) + 0.2 * max(0.0, 1 - epochs / 10)

    def planned(budget: float) -> float:
        clock = Clock(time.monotonic(), budget)
        rest: dict[str, Any] = {"num_classes": 10, "scored": 60, "epochs": None, "widths": (0.25, 0.5, 1.0, 2.0, 4.0)}
        return meter(make, DigitBatches, images, labels, clock=clock, promise=promise, **rest).recipe.model.width

    monkeypatch.setattr("lightmeter.verbs.meter.training_rate", slow)
    monkeypatch.setattr("lightmeter.verbs.meter._COST_OF_WIDTH", few)
    assert planned(20.0) == 0.25  # where 0.5 would get 5 epochs at most
    monkeypatch.setattr("lightmeter.verbs.meter._COST_OF_WIDTH", many)
    assert planned(600.0) == 2.0  # 10 epochs are 1,280 images, at 5 a second


def test_what_the_looks_took_is_not_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the width that was looked at first is taken after all."""
    images, labels = pixels()
    spent = 0.0

    class Busy(Clock):
        @property
        def elapsed(self) -> float:
            return spent

    def slow(model: nn.Module, recipe: Recipe, *rest: object, **options: object) -> float:
        nonlocal spent
        spent += 20.0
        return 1000.0 if recipe.model.width == 0.25 else 100.0

    def narrow(width: float, epochs: float) -> float:
        """The wider one would be better with half of the narrower one's speed, which it has not."""
        return 0.2 if width == 0.25 else 0.1 if epochs > 1000 else 0.3

    monkeypatch.setattr("lightmeter.verbs.meter.training_rate", slow)
    rest: dict[str, Any] = {"num_classes": 10, "scored": 60, "epochs": None, "widths": (0.25, 0.5), "promise": narrow}
    made = meter(make, DigitBatches, images, labels, clock=Busy(0.0, 600.0), **rest)
    assert made.recipe.model.width == 0.25
    assert made.train_until is not None
    batches = DigitBatches(made.recipe)
    assert made.recipe.epochs == pytest.approx(0.95 * 1000 * (made.train_until - 40.0) / batches.n, rel=1e-6)


def test_a_look_that_takes_a_good_part_of_the_budget_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = pixels()
    spent = 0.0
    looked: list[float] = []

    class Busy(Clock):
        @property
        def elapsed(self) -> float:
            return spent

    def slow(model: nn.Module, recipe: Recipe, *rest: object, **options: object) -> float:
        nonlocal spent
        spent += 15.0
        looked.append(recipe.model.width)
        return 3.0 / recipe.model.width

    monkeypatch.setattr("lightmeter.verbs.meter.training_rate", slow)
    rest: dict[str, Any] = {"num_classes": 10, "scored": 60, "epochs": None, "widths": (0.25, 0.5, 1.0, 2.0)}
    made = meter(make, DigitBatches, images, labels, clock=Busy(0.0, 60.0), promise=wider_is_better, **rest)
    assert looked == [2.0, 0.25]  # not an epoch at 2; and not 1 and 0.5 between them
    assert made.recipe.model.width == 0.25


def test_a_width_that_cannot_promise_more_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little its steps may cost: a look takes its time."""
    images, labels = pixels()
    looked: list[float] = []

    def rate(model: nn.Module, recipe: Recipe, *rest: object, **options: object) -> float:
        looked.append(recipe.model.width)
        return 1000.0 / recipe.model.width**1.5

    def promise(width: float, epochs: float) -> float:
        return 0.5 if width >= 0.5 else 0.7

    monkeypatch.setattr("lightmeter.verbs.meter.training_rate", rate)
    rest: dict[str, Any] = {"num_classes": 10, "scored": 60, "epochs": None, "widths": (0.25, 0.5, 1.0, 2.0)}
    meter(make, DigitBatches, images, labels, clock=Clock(time.monotonic(), 600.0), promise=promise, **rest)
    assert looked == [0.5]


def test_a_narrower_width_is_looked_at_where_steps_may_cost_more_than_the_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In small batches they do, as Muon's products grow with the third power."""
    images, labels = pixels()
    rates = {width: 1000.0 / width**2.5 for width in (0.25, 0.5, 2.0)}
    enough = 4.8 * rates[0.5] * 600.0 / len(images)  # epochs: more than four times what 0.5 has time for

    def promise(width: float, epochs: float) -> float:
        return 0.4 if width == 0.25 and epochs >= enough else 0.5 if width >= 0.5 else 0.6

    monkeypatch.setattr(
        "lightmeter.verbs.meter.training_rate", lambda model, recipe, *_, **__: rates[recipe.model.width]
    )
    rest: dict[str, Any] = {"num_classes": 10, "scored": 60, "epochs": None, "widths": tuple(rates)}
    found = meter(make, DigitBatches, images, labels, clock=Clock(time.monotonic(), 600.0), promise=promise, **rest)
    assert found.recipe.model.width == 0.25


def test_a_choice_is_kept_for_the_same_machine_model_and_batch(tmp_path: Path) -> None:
    images, labels = pixels()
    model = build_prepared(make(1.0, 0.25), 10, images)

    def choose(module: nn.Module, batch: int) -> tuple[Execution, list[Measurement]]:
        return measure_training(module, images[:batch], labels[:batch], batch, seconds=0.1, cache=tmp_path)

    first = choose(model, 32)
    (kept,) = (tmp_path / "executions").iterdir()
    document = json.loads(kept.read_text())
    document["execution"]["micro_batch"] = 7  # which no measurement would choose
    kept.write_text(json.dumps(document))
    again = choose(model, 32)
    assert again[0].micro_batch == 7
    assert again[1] == first[1]
    assert choose(model, 16)[0].micro_batch != 7
    freeze(model, ("stage1",))
    assert choose(model, 32)[0].micro_batch != 7  # less is learned, so another way may be fastest
    kept.write_text("damaged")
    assert len(list((tmp_path / "executions").iterdir())) == 3
    os.utime(kept, (0, 0))
    assert choose(build_prepared(make(1.0, 0.25), 10, images), 32)[0].micro_batch != 7
    assert json.loads(kept.read_text())["format"] == 1


def test_gradients_may_be_off_by_what_rounding_the_weights_alone_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmeter.verbs.measure._HOPELESS", math.inf)  # so that it is compared on any processor
    images, labels = pixels()
    torch.manual_seed(0)
    chaotic = build_model(ModelChoice(name="resnet50", width=0.125, options={"stem": "small"}), 10, 1, 8)
    _, found = measure_training(chaotic, images[:32], labels[:32], 32, seconds=0.2)
    rounded = [measurement for measurement in found if "bfloat16" in measurement.what]
    assert rounded
    assert all(measurement.accepted for measurement in rounded), [measurement.note for measurement in rounded]


def test_right_executions_are_accepted_and_measuring_leaves_the_model_alone() -> None:
    images, labels = pixels()
    model = build_prepared(make(1.0, 0.25), 10, images)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    threads = torch.get_num_threads()
    execution, found = measure_training(model, images, labels, 64, seconds=0.2)
    assert found[0].what.startswith("training, float32, channels-last")
    assert found[0].max_error == 0
    assert execution.micro_batch <= 64
    measure_inference(model, images, lambda module, some: module(some), seconds=0.2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.get_num_threads() == threads


def test_digits_are_not_mirrored_and_symmetric_pictures_are() -> None:
    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    found = measure_mirror(images, labels)
    assert not found.safe
    assert found.plain > 0.9 > 0.6 > found.mirrored
    assert "Nothing is mirrored" in found.sentence
    few = measure_mirror(images[:40], labels[:40])
    assert not few.safe
    assert "too few to tell" in few.sentence
    both = np.maximum(images, images[:, :, ::-1])
    assert measure_mirror(both, labels).safe


def test_the_same_seed_builds_the_same_network_and_leaves_the_generator() -> None:
    images, _ = pixels()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, second = (build_prepared(make(1.0, 0.25), 10, images) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    other = build_prepared(make(1.0, 0.25).model_copy(update={"seed": 1}), 10, images)
    assert not torch.equal(first.head.weight, other.head.weight)

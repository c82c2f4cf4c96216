"""The training loop: exact resume, epochs, bad losses, too little memory."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightmeter.errors import FormatError, TrainingError
from lightmeter.nouns.recipe import BatchNorm, Loss, ModelChoice, Optimizer, Recipe
from lightmeter.optim.losses import sum_of_squares
from lightmeter.verbs.fit import Averaged, fit, steps, training_mode, validate
from lightmeter.verbs.state import State
from tests.verbs.learning import CLASSES, PLAIN, DigitBatches, fresh, recipe

ADAMW = Optimizer(name="adamw", lr=1e-3, bias_lr=1e-3, head_lr=1e-3)


def tensors(state: State) -> dict[str, Tensor]:
    """Everything in a State that is a tensor."""
    found = {f"module.{name}": value for name, value in state.module.state_dict().items()}
    for number, optimizer in enumerate(state.optimizers):
        for index, entry in optimizer.state_dict()["state"].items():
            found |= {f"{number}.{index}.{key}": value for key, value in entry.items() if isinstance(value, Tensor)}
    if state.ema is not None:
        found |= {f"ema.{name}": value for name, value in state.ema.state_dict().items()}
    return found


@pytest.mark.parametrize("killed_after", [1, 5, 8, 11, 23])
@pytest.mark.parametrize(
    "made",
    [recipe(), recipe(ema=0.9), recipe(model=ModelChoice(name="mobilenet_v2", width=0.25), optimizer=ADAMW)],
    ids=["muon", "ema", "adamw and dropout"],
)
def test_a_state_saved_at_any_step_goes_on_bit_for_bit(made: Recipe, killed_after: int, tmp_path: Path) -> None:
    if made.model.name == "mobilenet_v2":  # needs 32 pixels; stretched digits do
        pytest.importorskip("torch")
        made = made.model_copy(update={"preprocess": made.preprocess.model_copy(update={"size": 32})})
    batches = _Stretched(made) if made.preprocess.size == 32 else DigitBatches(made)
    whole = fresh(made)
    for _ in steps(whole, made, batches, PLAIN):
        pass
    first = fresh(made)
    for _ in itertools.islice(steps(first, made, batches, PLAIN), killed_after):
        pass
    first.save(tmp_path / "state")
    torch.manual_seed(99)  # whatever else happens in the next process
    second = fresh(made.model_copy(update={"seed": made.seed}))
    second.load(tmp_path / "state")
    for _ in steps(second, made, batches, PLAIN):
        pass
    assert whole.counters.step == second.counters.step == 24
    expected, found = tensors(whole), tensors(second)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


class _Stretched(DigitBatches):
    def train(self, chosen: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        inputs, targets = super().train(chosen, epoch, step)
        return inputs.repeat_interleave(4, 1).repeat_interleave(4, 2), targets


class _Asking(DigitBatches):
    """Keeps what it was told to have ready, and holds each batch against that."""

    asked: set[int]
    early = 0

    def soon(self, chosen: Tensor) -> None:
        self.asked |= set(chosen.tolist())

    def train(self, chosen: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        wanted = set(chosen.tolist())
        assert wanted <= self.asked
        self.early += bool(self.asked - wanted)  # others are on their way as well
        self.asked -= wanted
        return super().train(chosen, epoch, step)


def test_every_batch_is_asked_for_before_it_is_needed_after_a_resume_too() -> None:
    made = recipe()
    state, batches = fresh(made), _Asking(made)
    batches.asked = set()
    for _ in itertools.islice(steps(state, made, batches, PLAIN), 3):
        pass
    batches.asked = set()  # as in another process
    for _ in steps(state, made, batches, PLAIN):
        pass
    assert state.counters.step == 24
    assert batches.early > 12


def test_steps_draw_nothing_from_the_global_generator() -> None:
    made = recipe()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for _ in steps(fresh(made), made, DigitBatches(made), PLAIN):
        pass
    assert torch.equal(before, torch.get_rng_state())


def test_epochs_count_every_picture_once_and_end_the_schedule() -> None:
    made = recipe(epochs=2.5)
    state, batches = fresh(made), DigitBatches(made)
    epochs = list(fit(state, made, batches, PLAIN, steps(state, made, batches, PLAIN), CLASSES))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert [epoch.step for epoch in epochs] == [8, 16, 20]
    assert epochs[-1].progress == pytest.approx(1.0)
    assert epochs[-1].lr == pytest.approx(0.0, abs=1e-9)
    assert 0 <= epochs[0].val_accuracy <= 1
    assert {"train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1_macro", "val/ece"} <= set(
        epochs[0].document()
    )


def test_learning_happens_and_the_best_weights_are_kept() -> None:
    made = recipe(epochs=20.0, augment=())
    state, batches = fresh(made), DigitBatches(made)
    epochs = list(fit(state, made, batches, PLAIN, steps(state, made, batches, PLAIN), CLASSES))
    assert epochs[-1].train_accuracy > 0.9 > 0.6 > epochs[0].train_accuracy
    best = max(epochs, key=lambda epoch: (epoch.val_accuracy, -epoch.val_loss))
    assert state.counters.best_epoch == best.epoch
    state.module.load_state_dict(state.best)
    again = validate(state.module, batches, PLAIN, CLASSES)
    assert (again.accuracy, again.loss) == (best.val_accuracy, pytest.approx(best.val_loss))


def test_the_last_weights_are_kept_where_the_recipe_says_so() -> None:
    made = recipe(epochs=4.0, keep="last")
    state, batches = fresh(made), DigitBatches(made)
    for epoch in fit(state, made, batches, PLAIN, steps(state, made, batches, PLAIN), CLASSES):
        assert epoch.best
        assert all(torch.equal(state.best[name], tensor) for name, tensor in state.module.state_dict().items())
        state.counters.best_accuracy = 2.0  # no later epoch can be better than that
    assert epoch.epoch == 4
    assert state.counters.best_epoch == 1


def test_an_epoch_counts_what_an_earlier_process_spent_on_it() -> None:
    made = recipe(epochs=1.0)
    state, batches = fresh(made), DigitBatches(made)
    state.counters.waited, state.counters.computed = 40.0, 60.0
    (epoch,) = fit(state, made, batches, PLAIN, steps(state, made, batches, PLAIN), CLASSES)
    assert 100 < epoch.seconds < 200


def test_a_loss_that_is_not_finite_stops_with_the_step_and_leaves_the_weights_finite() -> None:
    made = recipe(optimizer=Optimizer(name="sgd", lr=1e12, bias_lr=1e12, head_lr=1e12))
    state = fresh(made)
    with pytest.raises(TrainingError, match=r"The loss became (nan|inf) at step \d+ of epoch \d+"):
        for _ in steps(state, made, DigitBatches(made), PLAIN):
            pass
    assert state.counters.step < 24


class _Hungry(nn.Module):
    """Fails as the allocator does when given more than `limit` pictures at a time."""

    def __init__(self, inner: nn.Module, limit: int) -> None:
        super().__init__()
        self.inner, self.limit = inner, limit

    def forward(self, inputs: Tensor) -> Tensor:
        if len(inputs) > self.limit:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        logits: Tensor = self.inner(inputs)
        return logits


def test_too_little_memory_halves_the_parts_says_so_and_keeps_the_batch() -> None:
    made = recipe()
    state = fresh(made)
    state.module = _Hungry(state.module, limit=4)
    state.counters.micro_batch = 16
    taken = list(steps(state, made, DigitBatches(made), PLAIN))
    assert "parts of 4 pictures" in taken[0].note
    assert {step.note for step in taken[1:]} == {""}
    assert {step.images for step in taken} == {16}
    state = fresh(made)
    state.module = _Hungry(state.module, limit=3)
    with pytest.raises(TrainingError, match="Memory does not suffice"):
        next(steps(state, made, DigitBatches(made), PLAIN))


def test_other_runtime_errors_are_not_taken_for_too_little_memory() -> None:
    made = recipe()
    state = fresh(made)
    state.module = nn.Linear(3, 3)
    with pytest.raises(RuntimeError, match=r"shape|dtype"):
        next(steps(state, made, DigitBatches(made), PLAIN))


def test_accumulated_parts_give_the_gradient_of_the_whole_batch() -> None:
    """Without BatchNorm, whose statistics do depend on the parts, a batch in parts is the batch."""
    made = recipe()
    results = []
    for micro_batch in (16, 4):
        torch.manual_seed(0)
        state = fresh(made)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        state.module, state.optimizers = _Float(net), (torch.optim.SGD(net.parameters(), lr=0.1),)
        for group in state.optimizers[0].param_groups:
            group["peak_lr"] = 0.1
        state.counters.micro_batch = micro_batch
        next(steps(state, made, DigitBatches(made), PLAIN))
        results.append([parameter.detach().clone() for parameter in net.parameters()])
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, parts)


class _Float(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs.float() / 255)
        return logits


def test_frozen_layers_stay_in_evaluation_mode_through_validation() -> None:
    made = recipe()
    state, batches = fresh(made), DigitBatches(made)
    training_mode(state.module, ("stages.0.conv1", "stages.0.norm1"))
    norms = [state.module.get_submodule(f"stages.0.norm{number}") for number in (1, 2)]
    assert [norm.training for norm in norms] == [False, True]
    validate(state.module, batches, PLAIN, CLASSES)
    assert [norm.training for norm in norms] == [False, True]


@pytest.mark.parametrize("policy", ["frozen", "update", "recalibrate", "batch"])
def test_frozen_batchnorm_does_what_the_recipe_says(policy: BatchNorm) -> None:
    made = recipe(batchnorm=policy, epochs=1.0)
    state, batches = fresh(made), DigitBatches(made)
    name = "stages.0.norm1"
    norm = state.module.get_submodule(name)
    assert isinstance(norm, nn.BatchNorm2d)
    norm.requires_grad_(False)
    norm.running_mean.fill_(7.0)  # type: ignore[union-attr]
    training_mode(state.module, (name,), policy)
    outputs: list[Tensor] = []
    norm.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()) or None)
    taken = steps(state, made, batches, PLAIN)
    next(taken)
    centred = bool(outputs[0].mean(dim=(0, 2, 3)).abs().max() < 1e-4)
    assert centred == (policy != "frozen")  # batch statistics centre each channel, foreign ones do not
    list(fit(state, made, batches, PLAIN, taken, CLASSES, (name,)))
    mean = norm.running_mean
    assert mean is not None
    kept = torch.equal(mean, torch.full_like(mean, 7.0))
    assert kept == (policy in ("frozen", "batch"))
    if policy == "recalibrate":  # those of the training pictures, whatever stood there before
        seen: list[Tensor] = []
        state.module.get_submodule("stages.0.conv1").register_forward_hook(
            lambda module, inputs, output: seen.append(output) or None
        )
        state.module.eval()
        with torch.no_grad():
            for inputs in batches.sample(PLAIN.micro_batch):
                state.module(inputs)
        pooled = [nn.functional.max_pool2d(part, 2) for part in seen]
        expected = torch.stack([part.mean(dim=(0, 2, 3)) for part in pooled]).mean(0)
        torch.testing.assert_close(mean, expected, atol=1e-4, rtol=1e-4)


def test_a_penalty_on_squares_is_part_of_the_loss() -> None:
    plain, punished = recipe(), recipe(loss=Loss(label_smoothing=0.2, l2=0.01))
    state = fresh(plain)
    squares = float(sum_of_squares(state.module).detach())
    trained = [part for part in state.module.parameters() if part.requires_grad and part.ndim >= 2]
    assert squares == pytest.approx(sum(float((part.detach() ** 2).sum()) for part in trained), rel=1e-5)
    first = next(steps(state, plain, DigitBatches(plain), PLAIN)).loss
    assert next(steps(fresh(punished), punished, DigitBatches(punished), PLAIN)).loss == pytest.approx(
        first + 0.01 * squares, rel=1e-5
    )


def test_averaged_weights_are_there_only_inside_the_context() -> None:
    made = recipe(ema=0.99)
    state = fresh(made)
    for _ in steps(state, made, DigitBatches(made), PLAIN):
        pass
    own = {name: value.clone() for name, value in state.module.state_dict().items()}
    with Averaged(state):
        inside = state.module.state_dict()["head.weight"].clone()
    assert not torch.equal(inside, own["head.weight"])
    assert all(torch.equal(value, own[name]) for name, value in state.module.state_dict().items())


def test_the_state_of_another_model_is_refused(tmp_path: Path) -> None:
    fresh(recipe()).save(tmp_path / "state")
    wider = recipe(model=ModelChoice(name="whitened", width=0.5))
    with pytest.raises(FormatError, match="state of another model"):
        fresh(wider).load(tmp_path / "state")


def test_counters_without_a_best_loss_survive_saving(tmp_path: Path) -> None:
    state = fresh(recipe())
    state.save(tmp_path / "state")
    state.counters.best_loss = 1.0
    state.load(tmp_path / "state")
    assert math.isinf(state.counters.best_loss)

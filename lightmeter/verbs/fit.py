"""The training loop: a State and its batches -> an iterator of Epoch records.

`steps` takes one optimizer step per item; `fit` gathers steps into epochs. What else a caller wants (stop early, show
progress, save, keep to a deadline) it does between items: a generator that takes steps and hands them on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightmeter.augment.counter import seed_of
from lightmeter.errors import TrainingError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.recipe import BatchNorm, Recipe
from lightmeter.optim.groups import set_lr
from lightmeter.optim.losses import cross_entropy, sum_of_squares
from lightmeter.optim.schedules import factor
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.state import State

_SMALLEST_MICRO_BATCH = 4
_AHEAD = 2  # batches whose pictures are asked for before they are needed


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: its loss, the images it used, the seconds it took, and whether an epoch ends with it."""

    loss: float
    images: int
    seconds: float
    ends_epoch: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's record; the last may be a part of one.

    Attributes:
        progress: share of the schedule that is done, 0..1.
        lr: factor of the peak learning rate at its last step.
        input_bound: share of the training seconds spent waiting for input.
        best: whether its weights are the best by validation so far.
    """

    epoch: int
    progress: float
    step: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    val_f1_macro: float
    val_ece: float
    lr: float
    seconds: float
    images_per_second: float
    input_bound: float
    best: bool
    batch_size: int

    def document(self) -> dict[str, Any]:
        """As plain JSON values, metrics under their standard names ("train/loss", "val/accuracy", ...)."""
        return {
            name.replace("_", "/", 1) if name[:4] in ("trai", "val_") else name: value
            for name, value in asdict(self).items()
        }


def steps(
    state: State, recipe: Recipe, batches: Batches, execution: Execution, class_weights: Tensor | None = None
) -> Iterator[Step]:
    """Train on until the schedule is done, one optimizer step per item.

    The order of an epoch, and every random draw in it, follow from the recipe's seed and the counters, so a State
    saved between two steps goes on as if nothing had happened.

    Raises:
        TrainingError: the loss is not finite, or memory is too small for the smallest batch.
    """
    counters = state.counters
    batch_size = min(recipe.batch_size, batches.n)
    devices = [torch.cuda.current_device()] if execution.device == "cuda" else []
    while counters.remaining >= batch_size / 2:
        generator = torch.Generator().manual_seed(seed_of(recipe.seed, counters.epoch, 0, -1))
        order = torch.randperm(batches.n, generator=generator)
        batches.soon(order[counters.position :][: _AHEAD * batch_size])
        while counters.position + batch_size <= batches.n and counters.remaining >= batch_size / 2:
            start = time.perf_counter()
            chosen = order[counters.position : counters.position + batch_size]
            batches.soon(order[counters.position + _AHEAD * batch_size :][:batch_size])
            inputs, targets = batches.train(chosen, counters.epoch, counters.step)
            ready = time.perf_counter()
            set_lr(state.optimizers, factor(counters.progress, recipe.schedule))
            with torch.random.fork_rng(
                devices=devices
            ):  # dropout draws from the global generator: let the counters decide it
                torch.manual_seed(seed_of(recipe.seed, counters.epoch, counters.step, -2))
                loss, correct, note = _optimise(state, inputs, targets, execution, class_weights, recipe.loss.l2)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"The loss became {loss} at step {counters.step + 1} of epoch {counters.epoch + 1}.",
                    "a finite loss",
                    "lower the learning rate, for instance --set optimizer.lr=...; the run keeps its last saved state.",
                )
            if state.ema is not None:
                state.ema.update(state.module)
            end = time.perf_counter()
            counters.progress += (1 - counters.progress) * min(1.0, batch_size / counters.remaining)
            counters.remaining = max(0.0, counters.remaining - batch_size)
            counters.position += batch_size
            counters.step += 1
            counters.loss_sum += loss * batch_size
            counters.correct += correct
            counters.images += batch_size
            counters.waited += ready - start
            counters.computed += end - ready
            ends = counters.position + batch_size > batches.n or counters.remaining < batch_size / 2
            yield Step(loss, batch_size, end - start, ends, note)
        counters.epoch += 1
        counters.position = 0
        counters.loss_sum = counters.correct = counters.waited = counters.computed = 0.0
        counters.images = 0


def fit(
    state: State,
    recipe: Recipe,
    batches: Batches,
    execution: Execution,
    taken: Iterable[Step],
    classes: tuple[str, ...],
    frozen: tuple[str, ...] = (),
) -> Iterator[Epoch]:
    """Gather `taken` (from `steps`, perhaps through other generators) into epochs, validating after each.

    Keeps the best weights by validation accuracy, then loss, in `state.best`; or the last ones, as the recipe says.
    """
    counters = state.counters
    began = time.perf_counter() - counters.waited - counters.computed  # of an epoch that an earlier process began
    for step in taken:
        if not step.ends_epoch:
            continue
        with Averaged(state):
            if recipe.batchnorm == "recalibrate" and frozen:
                recalibrate(state.module, frozen, batches.sample(execution.micro_batch), execution)
            val = validate(state.module, batches, execution, classes)
            better = (val.accuracy, -val.loss) > (counters.best_accuracy, -counters.best_loss)
            if better:
                counters.best_epoch = counters.epoch + 1
                counters.best_accuracy, counters.best_loss = val.accuracy, val.loss
            kept = better or recipe.keep == "last"
            if kept:
                state.best = {name: tensor.detach().cpu().clone() for name, tensor in state.module.state_dict().items()}
        now = time.perf_counter()
        busy = counters.waited + counters.computed
        yield Epoch(
            epoch=counters.epoch + 1,
            progress=counters.progress,
            step=counters.step,
            train_loss=counters.loss_sum / counters.images,
            train_accuracy=counters.correct / counters.images,
            val_loss=val.loss,
            val_accuracy=val.accuracy,
            val_f1_macro=float(val.averages["macro"]["f1"]),
            val_ece=val.ece,
            lr=factor(counters.progress, recipe.schedule),
            seconds=now - began,
            images_per_second=counters.images / busy,
            input_bound=counters.waited / busy,
            best=kept,
            batch_size=min(recipe.batch_size, batches.n),
        )
        began = time.perf_counter()


def _optimise(
    state: State,
    inputs: Tensor,
    targets: Tensor,
    execution: Execution,
    class_weights: Tensor | None,
    l2: float,
) -> tuple[float, float, str]:
    """One optimizer step, accumulated over micro-batches: mean loss, pictures named right, and a remark.

    Where memory runs out the micro-batch is halved and the step done again: the batch that the recipe names stays.
    """
    counters, note = state.counters, ""
    while True:
        for optimizer in state.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = correct = 0.0
        try:
            for start in range(0, len(inputs), counters.micro_batch):
                part = slice(start, start + counters.micro_batch)
                with execution.autocast():
                    logits = state.module(inputs[part]).float()
                share = len(logits) / len(inputs)
                part_loss = cross_entropy(logits, targets[part], class_weights) * share
                if l2:
                    part_loss = part_loss + share * l2 * sum_of_squares(state.module)
                part_loss.backward()
                loss += part_loss.item()
                correct += (logits.detach().argmax(1) == targets[part].argmax(1)).sum().item()
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if counters.micro_batch <= _SMALLEST_MICRO_BATCH:
                raise TrainingError(
                    f"Memory does not suffice for {counters.micro_batch} pictures at a time.",
                    fix="set a smaller preprocess.size or model.width, for instance --set model.width=0.5.",
                ) from error
            counters.micro_batch = max(_SMALLEST_MICRO_BATCH, min(counters.micro_batch, len(inputs)) // 2)
            note = f"Out of memory: each batch is now taken in parts of {counters.micro_batch} pictures."
            continue
        if math.isfinite(loss):
            for optimizer in state.optimizers:
                optimizer.step()
        return loss, correct, note


def _out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; PyTorch has a type of its own for it only on a GPU."""
    text = str(error).lower()
    known = ("can't allocate memory", "not enough memory", "cannot allocate memory", "out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in known)


def training_mode(module: nn.Module, frozen: tuple[str, ...], batchnorm: BatchNorm = "frozen") -> None:
    """Training mode, but for the frozen layers, whose BatchNorm does what the recipe's `batchnorm` says."""
    module.train()
    for name in frozen:
        layer = module.get_submodule(name)
        if not isinstance(layer, nn.modules.batchnorm._BatchNorm) or batchnorm == "frozen":
            layer.eval()
        elif batchnorm == "batch":
            layer.momentum = 0.0  # batch statistics are used, and what was kept stays as it is


@torch.no_grad()
def recalibrate(module: nn.Module, frozen: tuple[str, ...], inputs: Iterable[Tensor], execution: Execution) -> None:
    """Replace the statistics of the frozen BatchNorm layers by those of `inputs`, averaged over its batches."""
    norms = [
        layer
        for layer in map(module.get_submodule, frozen)
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
    ]
    before = [(layer, layer.momentum) for layer in norms]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
        layer.train()
    with execution.autocast():
        for some in inputs:
            module(some)
    for layer, momentum in before:
        layer.momentum = momentum
    for part, training in modes:
        part.training = training


@torch.no_grad()
def validate(module: nn.Module, batches: Batches, execution: Execution, classes: tuple[str, ...]) -> Evaluation:
    """Score the validation split as it stands, without views and at temperature 1."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    with execution.autocast():
        logits = [module(inputs).float().cpu() for inputs in batches.val(execution.micro_batch)]
    for part, training in modes:  # one by one: frozen blocks stay in evaluation mode
        part.training = training
    return Evaluation(batches.val_ids, torch.cat(logits).numpy(), batches.val_labels, classes, "val", 1.0)


class Averaged:
    """A context in which a State's module carries its averaged weights, where it keeps any."""

    def __init__(self, state: State) -> None:
        self.state = state

    def __enter__(self) -> None:
        if self.state.ema is not None:
            self.kept = {name: tensor.clone() for name, tensor in self.state.module.state_dict().items()}
            self.state.ema.copy_to(self.state.module)

    def __exit__(self, *_: object) -> None:
        if self.state.ema is not None:
            self.state.module.load_state_dict(self.kept)

"""learn: a plan and its data -> the trained model, with the run folder kept resumable all the while."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import torch
from torch import Tensor, nn

from lightmeter.errors import TrainingError
from lightmeter.models.base import Model
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.run import Run
from lightmeter.optim import build_optimizer
from lightmeter.optim.ema import EMA
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.fit import Epoch, Step, fit, steps, training_mode
from lightmeter.verbs.meter import Plan
from lightmeter.verbs.state import Counters, State

_SAVE_EVERY = 30.0  # seconds
_SAY_EVERY = 2.0


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM; its state is saved."""


@dataclass
class StopFlag:
    """Set by a signal, read between two steps."""

    requested: bool = False
    signals: tuple[signal.Signals, ...] = field(default=(signal.SIGINT, signal.SIGTERM))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into a request, while the block lasts; a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals reach the main thread only
            return

        def request(number: int, frame: FrameType | None) -> None:
            if self.requested:
                raise KeyboardInterrupt
            self.requested = True

        before = {name: signal.signal(name, request) for name in self.signals}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


def learn(
    module: nn.Module,
    batches: Batches,
    plan: Plan,
    *,
    run: Run,
    classes: tuple[str, ...],
    clock: Clock,
    progress: Progress,
    frozen: tuple[str, ...] = (),
    first_epoch: Callable[[State], None] | None = None,
    class_weights: Tensor | None = None,
) -> State:
    """Train `module` to the plan's end, appending each epoch to the run; `state.best` holds the best weights.

    Goes on from the run's saved state where there is one.

    Args:
        frozen: blocks that are not trained.
        first_epoch: called once, after the first epoch that ends past 8 % of the budget.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        TrainingError: the loss is not finite, memory is too small, or a frozen tensor has changed.
    """
    recipe, execution = plan.recipe, plan.execution
    execution.place(module)
    training_mode(module, frozen)
    optimizers = build_optimizer(module, recipe.optimizer)
    total = recipe.epochs * batches.n
    state = State(
        module,
        optimizers,
        EMA(module, recipe.ema) if recipe.ema else None,
        Counters(remaining=total, micro_batch=execution.micro_batch),
    )
    if run.state.exists():
        state.load(run.state)
        _forget_after(run, state.counters.step)
        progress.say(f"Resuming after {state.counters.step:,} steps, in epoch {state.counters.epoch + 1}.")
    before = _digest(module, frozen)
    stop = StopFlag()
    said = 0.0
    with (
        execution.pool(),
        stop.listening(),
        progress.track("training", round(state.counters.remaining), "images") as advance,
    ):
        taken = _watched(
            steps(state, recipe, batches, execution, class_weights), state, run, plan, clock, progress, stop, advance
        )
        for epoch in fit(state, recipe, batches, execution, taken, classes):
            run.append_epoch({**epoch.document(), "elapsed": round(clock.elapsed, 3)})
            if time.monotonic() - said > _SAY_EVERY or epoch.progress >= 1:
                progress.say(_line(epoch, recipe))
                said = time.monotonic()
            if first_epoch is not None and clock.budget is not None and clock.elapsed > 0.08 * clock.budget:
                first_epoch(state)
                first_epoch = None
            if recipe.patience and epoch.epoch - state.counters.best_epoch >= recipe.patience:
                progress.say(f"Stopped early: no better epoch since epoch {state.counters.best_epoch}.")
                break
    if _digest(module, frozen) != before:
        raise TrainingError(
            "A frozen parameter or buffer was changed by training.", "frozen blocks bit for bit the same"
        )
    _save(state, run, clock)
    return state


def _watched(
    taken: Iterable[Step],
    state: State,
    run: Run,
    plan: Plan,
    clock: Clock,
    progress: Progress,
    stop: StopFlag,
    advance: Callable[[int], None],
) -> Iterator[Step]:
    """Hand steps on, and between them save, keep to the deadline, show progress and heed a request to stop."""
    saved = replanned = time.monotonic()
    since, images = replanned, 0
    batch_size = plan.recipe.batch_size
    for step in taken:
        advance(step.images)
        images += step.images
        if step.note:
            progress.say(step.note)
        now = time.monotonic()
        if plan.train_until is not None and now - replanned > max(1.0, 0.01 * plan.train_until) and not step.ends_epoch:
            # Speed drifts: other programs run, processors get hot. The schedule is fitted to what the time left holds.
            affordable = images / (now - since) * (plan.train_until - clock.elapsed)
            if abs(affordable - state.counters.remaining) > 0.01 * state.counters.remaining:
                state.counters.remaining = max(float(batch_size), affordable)
            replanned = now
            if now - since > 0.2 * plan.train_until:
                since, images = now, 0
        if stop.requested and not step.ends_epoch:
            _save(state, run, clock)
            raise Interrupted
        if now - saved > _SAVE_EVERY and not step.ends_epoch:  # at an epoch's end its record comes first
            _save(state, run, clock)
            saved = time.monotonic()
        yield step


def _save(state: State, run: Run, clock: Clock) -> None:
    state.counters.elapsed = clock.elapsed
    state.save(run.state)


def _forget_after(run: Run, step: int) -> None:
    """Drop the epochs that were recorded after the saved state: they come again, the same."""
    records = [record for record in run.epochs() if record["step"] <= step]
    (run.path / "epochs.jsonl").unlink(missing_ok=True)
    for record in records:
        run.append_epoch(record)


def _digest(module: nn.Module, frozen: tuple[str, ...]) -> str:
    """sha256 of every parameter and buffer that training must not change."""
    kept: list[Tensor] = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    if isinstance(module, Model):
        for name in frozen:
            kept += list(module.blocks()[name].buffers())
    digest = hashlib.sha256()
    for tensor in kept:
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _line(epoch: Epoch, recipe: Recipe) -> str:
    return (
        f"epoch {epoch.epoch}/{recipe.epochs:.3g}: train {epoch.train_accuracy:.1%}, val {epoch.val_accuracy:.1%}, "
        f"loss {epoch.val_loss:.3f}, {epoch.images_per_second:,.0f} images/s, input-bound {epoch.input_bound:.0%}"
    )

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

from torch import Tensor, nn

from lightmeter.errors import TrainingError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.progress import Advance, Progress
from lightmeter.nouns.recipe import BatchNorm
from lightmeter.nouns.run import Run
from lightmeter.optim import build_optimizer
from lightmeter.optim.ema import EMA
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.fit import Epoch, Step, fit, steps, training_mode, validate
from lightmeter.verbs.plan import Plan
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
    first_epoch: Callable[[State], float | None] | None = None,
    class_weights: Tensor | None = None,
) -> State:
    """Train `module` to the plan's end, appending each epoch to the run; `state.best` holds the best weights.

    Goes on from the run's saved state where there is one.

    Args:
        frozen: layers that are not trained.
        first_epoch: called once, after the first epoch that ends past 8 % of the budget; says anew until when to train.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the state is saved.
        TrainingError: the loss is not finite, memory is too small, or a frozen tensor has changed.
    """
    recipe, execution = plan.recipe, plan.execution
    execution.place(module)
    training_mode(module, frozen, recipe.batchnorm)
    optimizers = build_optimizer(module, recipe.optimizer)
    batch_size = min(recipe.batch_size, batches.n)
    # What is left over of an epoch is not trained on; a part of an epoch is at least one step.
    total = max(batch_size, recipe.epochs * (batches.n // batch_size * batch_size))
    state = State(
        module,
        optimizers,
        EMA(module, recipe.ema) if recipe.ema else None,
        Counters(remaining=float(total), micro_batch=execution.micro_batch),
    )
    if run.state.exists():
        state.load(run.state)
        _forget_after(run, state.counters.step)
        progress.say(f"Resuming after {state.counters.step:,} steps, in epoch {state.counters.epoch + 1}.")
    elif recipe.probe_epochs:  # what the head learned alone counts as epoch 0: the rest must do better to replace it
        _count_as_best(state, validate(module, batches, execution, classes))
    before = digest(module, frozen, recipe.batchnorm)
    stop, pace = StopFlag(), Pace(plan.train_until, plan.elastic)
    said = 0.0
    with (
        execution.pool(),
        stop.listening(),
        progress.track("training", round(state.counters.remaining), "images") as advance,
    ):
        trained = steps(state, recipe, batches, execution, class_weights)
        taken = _watched(trained, state, run, pace, batch_size, clock, progress, stop, advance)
        for epoch in fit(state, recipe, batches, execution, taken, classes, frozen):
            run.append_epoch({**epoch.document(), "elapsed": round(clock.elapsed, 3)})
            if time.monotonic() - said > _SAY_EVERY or epoch.progress >= 1:
                progress.say(_line(epoch))
                said = time.monotonic()
            if first_epoch is not None and clock.budget is not None and clock.elapsed > 0.08 * clock.budget:
                with pace.pause():
                    pace.until = first_epoch(state)
                first_epoch = None
            if recipe.patience and epoch.epoch - state.counters.best_epoch >= recipe.patience:
                progress.say(f"Stopped early: no better epoch since epoch {state.counters.best_epoch}.")
                state.counters.remaining = 0.0  # so that a resumed run is over, too
                state.counters.stopped = "patience"
                break
            if stop.requested or time.monotonic() - pace.saved > _SAVE_EVERY:
                _save(state, run, clock)
                pace.saved = time.monotonic()
            if stop.requested:
                raise Interrupted
    if digest(module, frozen, recipe.batchnorm) != before:
        raise TrainingError(
            "A frozen parameter or buffer was changed by training.", "frozen layers bit for bit the same"
        )
    _save(state, run, clock)
    return state


@dataclass
class Pace:
    """How fast training goes, and until when it may last.

    Attributes:
        until: seconds of the budget at which it must end, or None.
        elastic: whether epochs may be added.
        images, since, paused: of the stretch over which speed is taken.
        checked: when the schedule was last looked at.
        saved: when the state was last written.
    """

    until: float | None
    elastic: bool
    images: int = 0
    since: float = field(default_factory=time.monotonic)
    paused: float = 0.0
    checked: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """What is done in this block is no part of the speed of training."""
        start = time.monotonic()
        yield
        self.paused += time.monotonic() - start

    def fit(self, state: State, step: Step, batch_size: int, clock: Clock) -> None:
        """Count a step; now and then fit what remains of the schedule to the time that is left.

        Speed drifts: other programs run, processors get hot. Learning rates follow the share that is done, so the
        schedule always reaches its end.
        """
        self.images += step.images
        now = time.monotonic()
        over = state.counters.remaining < batch_size / 2
        if self.until is None or over or now - self.checked < max(1.0, 0.01 * self.until):
            return
        self.checked = now
        remaining = state.counters.remaining
        affordable = self.images / max(1e-3, now - self.since - self.paused) * (self.until - clock.elapsed)
        if affordable < remaining or (self.elastic and affordable > 1.02 * remaining):
            state.counters.remaining = max(float(batch_size), affordable)
            state.counters.stopped = "budget"
        if now - self.since > 0.25 * self.until:  # look at the last part only, but not at a moment
            self.images, self.since, self.paused = 0, now, 0.0


def _watched(
    taken: Iterable[Step],
    state: State,
    run: Run,
    pace: Pace,
    batch_size: int,
    clock: Clock,
    progress: Progress,
    stop: StopFlag,
    advance: Advance,
) -> Iterator[Step]:
    """Hand steps on, and between them save, keep to the deadline, show progress and heed a request to stop."""
    seen = 0
    for step in taken:
        if step.note:
            progress.say(step.note)
        pace.fit(state, step, batch_size, clock)
        seen += step.images
        advance(step.images, seen + round(state.counters.remaining))
        if not step.ends_epoch:  # at an epoch's end its record comes first
            if stop.requested:
                _save(state, run, clock)
                raise Interrupted
            if time.monotonic() - pace.saved > _SAVE_EVERY:
                _save(state, run, clock)
                pace.saved = time.monotonic()
        yield step


def _save(state: State, run: Run, clock: Clock) -> None:
    run.write("clock", {"elapsed": round(clock.elapsed, 3)})
    state.save(run.state)


def _forget_after(run: Run, step: int) -> None:
    """Drop the epochs that were recorded after the saved state: they come again, the same."""
    records = [record for record in run.epochs() if record["step"] <= step]
    run.write_epochs(records)


def _count_as_best(state: State, val: Evaluation) -> None:
    state.best = {name: tensor.detach().cpu().clone() for name, tensor in state.module.state_dict().items()}
    state.counters.best_accuracy, state.counters.best_loss = val.accuracy, val.loss


def digest(module: nn.Module, frozen: tuple[str, ...], batchnorm: BatchNorm) -> str:
    """sha256 of every parameter and buffer that training must not change, given the layers that are frozen."""
    kept: list[Tensor] = [parameter for parameter in module.parameters() if not parameter.requires_grad]
    if batchnorm == "frozen":
        for name in frozen:
            kept += list(module.get_submodule(name).buffers())
    found = hashlib.sha256()
    for tensor in kept:
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _line(epoch: Epoch) -> str:
    return (
        f"epoch {epoch.epoch}, {epoch.progress:.0%} done: "
        f"train {epoch.train_accuracy:.1%}, val {epoch.val_accuracy:.1%}, loss {epoch.val_loss:.3f}, "
        f"{epoch.images_per_second:,.0f} images/s, input-bound {epoch.input_bound:.0%}"
    )

"""Keeping to the deadline, keeping frozen tensors, stopping early, being interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lightmeter.errors import TrainingError
from lightmeter.nouns.progress import SILENT, Advance
from lightmeter.nouns.run import Run
from lightmeter.verbs.clock import Clock, process_start
from lightmeter.verbs.fit import Step
from lightmeter.verbs.learn import Interrupted, Pace, StopFlag, learn
from lightmeter.verbs.meter import Plan
from tests.verbs.learning import CLASSES, PLAIN, DigitBatches, fresh, recipe

FOREVER = Clock(time.monotonic(), None)


def run_in(path: Path) -> Run:
    """A run folder with a request, as `train` makes it."""
    run = Run.create(path)
    run.write("request", {"source": "digits"})
    return run


def test_training_to_the_end_records_each_epoch_and_the_state(tmp_path: Path) -> None:
    made = recipe()
    run = run_in(tmp_path / "run")
    batches = DigitBatches(made)
    state = learn(
        fresh(made).module,
        batches,
        Plan(made, PLAIN, None, False),
        run=run,
        classes=CLASSES,
        clock=FOREVER,
        progress=SILENT,
    )
    assert [record["epoch"] for record in run.epochs()] == [1, 2, 3]
    assert state.best
    assert (run.state / "state.json").exists()


class _StopsAfter:
    """A Progress that sends this process SIGTERM once so many images were trained on."""

    def __init__(self, images: int) -> None:
        self.left = images

    @contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        def advance(count: int, total: int | None = None) -> None:
            self.left -= count
            if -count < self.left <= 0:
                os.kill(os.getpid(), signal.SIGTERM)

        yield advance

    def say(self, text: str) -> None:
        pass


@pytest.mark.parametrize("images", [16, 80, 128, 200])
def test_sigterm_leaves_a_run_that_goes_on_to_the_same_weights(images: int, tmp_path: Path) -> None:
    made = recipe()
    plan = Plan(made, PLAIN, None, False)
    batches = DigitBatches(made)
    whole = run_in(tmp_path / "whole")
    expected = learn(fresh(made).module, batches, plan, run=whole, classes=CLASSES, clock=FOREVER, progress=SILENT)
    broken = run_in(tmp_path / "broken")
    with pytest.raises(Interrupted):
        learn(
            fresh(made).module,
            batches,
            plan,
            run=broken,
            classes=CLASSES,
            clock=FOREVER,
            progress=_StopsAfter(images),
        )
    found = learn(fresh(made).module, batches, plan, run=broken, classes=CLASSES, clock=FOREVER, progress=SILENT)
    for name, tensor in expected.best.items():
        assert torch.equal(tensor, found.best[name]), name
    ignored = ("seconds", "elapsed", "images_per_second", "input_bound")
    records = [
        [{key: value for key, value in record.items() if key not in ignored} for record in run.epochs()]
        for run in (whole, broken)
    ]
    assert records[0] == records[1]


def test_signals_are_given_back_after_training() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopFlag().listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_frozen_tensor_that_changes_fails_the_run(tmp_path: Path) -> None:
    made = recipe()
    module = fresh(made).module

    class Tampering(DigitBatches):
        def train(self, chosen: torch.Tensor, epoch: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            module.get_parameter("whiten.weight").data.add_(1e-7)
            return super().train(chosen, epoch, step)

    with pytest.raises(TrainingError, match="frozen parameter or buffer"):
        learn(
            module,
            Tampering(made),
            Plan(made, PLAIN, None, False),
            run=run_in(tmp_path / "run"),
            classes=CLASSES,
            clock=FOREVER,
            progress=SILENT,
        )


def test_frozen_layers_keep_their_running_statistics(tmp_path: Path) -> None:
    made = recipe()
    module = fresh(made).module
    layers = ("stages.0.conv1", "stages.0.norm1", "stages.0.conv2", "stages.0.norm2")
    module.get_submodule("stages.0").requires_grad_(False)
    before = module.get_buffer("stages.0.norm1.running_mean").clone()
    learn(
        module,
        DigitBatches(made),
        Plan(made, PLAIN, None, False),
        run=run_in(tmp_path / "run"),
        classes=CLASSES,
        clock=FOREVER,
        progress=SILENT,
        frozen=layers,
    )
    assert torch.equal(before, module.get_buffer("stages.0.norm1.running_mean"))
    assert not torch.equal(torch.zeros(1), module.get_buffer("stages.1.norm1.running_mean")[:1])


def test_patience_stops_early_and_stays_stopped(tmp_path: Path) -> None:
    made = recipe(epochs=200.0, patience=2)
    run = run_in(tmp_path / "run")
    for _ in range(2):  # the second time from the saved state, as after a kill
        state = learn(
            fresh(made).module,
            DigitBatches(made),
            Plan(made, PLAIN, None, False),
            run=run,
            classes=CLASSES,
            clock=FOREVER,
            progress=SILENT,
        )
        records = run.epochs()
        assert len(records) == state.counters.best_epoch + 2 < 200
        assert state.counters.stopped == "patience"
    assert not any(record["best"] for record in records[-2:])


def test_a_signal_in_the_last_step_of_an_epoch_is_heeded_after_its_record(tmp_path: Path) -> None:
    made = recipe(batch_size=128)  # one step an epoch
    run = run_in(tmp_path / "run")
    plan = Plan(made, PLAIN, None, False)
    with pytest.raises(Interrupted):
        learn(
            fresh(made).module,
            DigitBatches(made),
            plan,
            run=run,
            classes=CLASSES,
            clock=FOREVER,
            progress=_StopsAfter(128),
        )
    assert [record["epoch"] for record in run.epochs()] == [1]
    learn(fresh(made).module, DigitBatches(made), plan, run=run, classes=CLASSES, clock=FOREVER, progress=SILENT)
    assert [record["epoch"] for record in run.epochs()] == [1, 2, 3]


def paced(pace: Pace, remaining: float, elapsed: float) -> float:
    """`remaining` after a step, where the pace has run for so many seconds."""
    state = fresh(recipe())
    state.counters.remaining = remaining
    now = time.monotonic()
    pace.since, pace.checked = now - elapsed, now - 100
    pace.fit(state, Step(0.5, 100, 0.1, False), 16, Clock(now - elapsed, 20.0))
    return state.counters.remaining


def test_a_slow_machine_shortens_the_schedule_and_a_fast_one_lengthens_an_elastic_one() -> None:
    # 100 images in 10 s and 10 s left: 100 more are affordable.
    assert paced(Pace(20.0, elastic=False), 1000.0, 10.0) == pytest.approx(100, rel=0.01)
    assert paced(Pace(20.0, elastic=False), 50.0, 10.0) == 50
    assert paced(Pace(20.0, elastic=True), 50.0, 10.0) == pytest.approx(100, rel=0.01)
    # Past the deadline one more step is taken, so that the last epoch ends properly.
    assert paced(Pace(5.0, elastic=True), 1000.0, 10.0) == 16
    assert paced(Pace(None, elastic=False), 1000.0, 10.0) == 1000


def test_pauses_are_no_part_of_the_speed() -> None:
    pace = Pace(20.0, elastic=True)
    pace.paused = 5.0
    assert paced(pace, 50.0, 10.0) == pytest.approx(200, rel=0.01)


def test_progress_counts_the_pictures_that_are_seen_and_not_those_that_were_planned(tmp_path: Path) -> None:
    class Counter:
        def __init__(self) -> None:
            self.counts: list[int] = []
            self.totals: list[int] = []

        @contextmanager
        def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
            def advance(count: int, total: int | None = None) -> None:
                self.counts.append(count)
                self.totals.append(total or 0)

            self.planned = total
            yield advance

        def say(self, text: str) -> None:
            pass

    counter, made, run = Counter(), recipe(epochs=1e5), run_in(tmp_path / "run")
    learn(
        fresh(made).module,
        DigitBatches(made),
        Plan(made, PLAIN, 1.5, False),
        run=run,
        classes=CLASSES,
        clock=Clock(time.monotonic(), 2.0),
        progress=counter,
    )
    step = made.batch_size
    assert set(counter.counts) == {step} and len(counter.counts) == run.epochs()[-1]["step"]
    assert sum(counter.counts) < counter.planned, "the schedule was to be cut here"
    assert abs(counter.totals[-1] - sum(counter.counts)) <= step / 2


def test_the_clock_counts_from_process_start() -> None:
    began = process_start()
    assert began <= time.monotonic()
    clock = Clock(time.monotonic() - 3, 10.0)
    assert 3 <= clock.elapsed < 4
    assert 6 < clock.left <= 7
    assert FOREVER.left == float("inf")

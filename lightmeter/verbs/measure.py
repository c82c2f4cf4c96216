"""Measure on this machine which execution of a network is fastest, and whether it computes the right thing."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.verbs.agreement import Answer, Run, answer, errors, rounded
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.measurement import Measurement, keep, machine_words, recalled

WORTH = 1.03
"""Times that a way must be faster, or the simpler one is kept."""

_WORSE_THAN_ROUNDING = 2.0  # times the error in the gradients that rounding the weights alone brings
_SMALL_ERROR = 0.25  # of the gradients, relative to their norm: far below what another draw of the batch changes
_DTYPES: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
_LAYOUTS: tuple[Literal["channels_last", "contiguous"], ...] = ("channels_last", "contiguous")
_SHORT_CALL = 0.05  # seconds: above this, starting a second thread costs nothing that matters
_LONG_CALL = 0.5  # seconds: above this, one call tells enough
_GLANCE = 8  # images that show whether a precision is worth measuring
_HOPELESS = 3.0  # times slower than float32 on those, as bfloat16 is where the processor only emulates it
_ONE_LAYOUT_TELLS = 0.75  # of the best: a precision that is slower than that in one layout is not tried in the other
_NOTHING = 0.01  # seconds of a call on those, below which being slower costs nothing
_AT_A_CALL = 10.0  # times slower, from which on the first call is enough to see it
_CALLS = 4  # that measuring one execution takes at least
_LARGEST_ERROR = 0.05  # of logits, relative to their root mean square


def measure_training(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    batch_size: int,
    *,
    seconds: float,
    mode: Callable[[nn.Module], object] = nn.Module.train,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> tuple[Execution, list[Measurement]]:
    """Try precisions, layouts and micro-batches for training steps of `model`; the fastest right one wins.

    Args:
        inputs, targets: one batch of real training data, of any size up to the recipe's batch.
        batch_size: of the recipe; the micro-batch never exceeds it.
        seconds: to spend, roughly, over all candidates.
        mode: what puts a copy of the model into the mode in which it will learn.
        cache: folder in which the choice is kept for a month, for this machine, library version, model and batch: it
            is read from there the next time. How fast the chosen way is today is for the caller to measure.
        progress: is told of each.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kept = (
        None if cache is None else cache / "executions" / f"{_identity(model, mode, inputs, batch_size, device)}.json"
    )
    if kept is not None and (known := recalled(kept)) is not None:
        return known
    inputs, targets = inputs.to(device), targets.to(device)

    def run(module: nn.Module, execution: Execution, count: int) -> Tensor:
        with execution.autocast():
            logits = module(inputs[:count]).float()
        torch.autograd.backward(nn.functional.cross_entropy(logits, targets[:count]))
        detached: Tensor = logits.detach()
        return detached

    chosen = _choose(model, run, device, batch_size, len(inputs), "training", seconds, mode, progress)
    if kept is not None:
        keep(kept, *chosen)
    return chosen


def _identity(
    model: nn.Module, mode: Callable[[nn.Module], object], inputs: Tensor, batch_size: int, device: str
) -> str:
    """Of all that decides which execution is fastest and right."""
    candidate = copy.deepcopy(model)
    mode(candidate)
    learning = [name for name, parameter in candidate.named_parameters() if parameter.requires_grad]
    training = [name for name, module in candidate.named_modules() if module.training]
    what = [
        *machine_words(device),
        str(candidate),
        *learning,
        *training,
        str(tuple(inputs.shape)),
        str(batch_size),
    ]
    return hashlib.sha256("\n".join(what).encode()).hexdigest()[:24]


def measure_inference(
    module: nn.Module,
    inputs: Tensor,
    forward: Callable[[nn.Module, Tensor], Tensor],
    *,
    seconds: float,
    progress: Progress = SILENT,
) -> tuple[Execution, list[Measurement]]:
    """Try precisions and layouts for `forward(module, inputs)` without gradients; the fastest right one wins."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = inputs.to(device)

    def run(candidate: nn.Module, execution: Execution, count: int) -> Tensor:
        with torch.no_grad(), execution.autocast():
            return forward(candidate, inputs[:count]).float()

    return _choose(module, run, device, len(inputs), len(inputs), "inference", seconds, nn.Module.eval, progress)


def inference_rate(module: nn.Module, inputs: Tensor, execution: Execution, *, seconds: float) -> float:
    """Images per second of a copy of `module`."""
    candidate = copy.deepcopy(module).eval()
    execution.place(candidate)

    def once() -> None:
        with torch.no_grad(), execution.autocast():
            candidate(inputs)

    with execution.pool():
        return len(inputs) / seconds_per_call(once, seconds)


def _choose(
    model: nn.Module,
    run: Run,
    device: str,
    batch_size: int,
    available: int,
    job: str,
    seconds: float,
    mode: Callable[[nn.Module], object],
    progress: Progress,
) -> tuple[Execution, list[Measurement]]:
    """Precision and layout on few images first; then whether fewer or more at a time, or one thread, is worth it."""
    each_seconds, threads, few = seconds / 10, torch.get_num_threads(), min(available, batch_size, 128)
    measurements: list[Measurement] = []
    reference: Answer | None = None
    by_rounding: Answer | None = None
    best: tuple[float, Execution, float] | None = None

    def found(measurement: Measurement) -> None:
        measurements.append(measurement)
        progress.say(measurement.sentence())

    def hopeless(execution: Execution) -> bool:
        """Whether a few images show it to be so much slower than the best float32 that the rest can be spared."""
        assert best is not None, "float32 comes first"
        some = min(few, _GLANCE)
        if device != "cpu":
            return False
        plain = _glance(model, run, replace(best[1], micro_batch=some), mode)
        other = _glance(model, run, replace(execution, micro_batch=some), mode, enough=_AT_A_CALL * plain)
        if other < _NOTHING or other < _HOPELESS * plain:
            return False
        note = f"left after {some} images: {other / plain:.0f} times slower than float32"
        found(Measurement(f"{job}, {execution.words}", some / other, 0.0, False, note))
        return True

    def measure(execution: Execution) -> None:
        """Seconds a call, with outputs and gradients compared before."""
        nonlocal reference, by_rounding, best
        candidate = copy.deepcopy(model)
        execution.place(candidate)
        mode(candidate)
        with execution.pool():
            answered = answer(candidate, run, execution, few)
            reference = reference or answered
            error, slope_error = errors(answered, reference)
            allowed = _LARGEST_ERROR, _SMALL_ERROR
            if execution.dtype != "float32" and (error > allowed[0] or slope_error > allowed[1]):
                by_rounding = by_rounding or rounded(model, run, replace(execution, dtype="float32"), few, mode)
                rounding = errors(by_rounding, reference)
                allowed = (
                    max(allowed[0], _WORSE_THAN_ROUNDING * rounding[0]),
                    max(allowed[1], _WORSE_THAN_ROUNDING * rounding[1]),
                )
            right = error <= allowed[0] and slope_error <= allowed[1]
            each = seconds_per_call(lambda: run(candidate, execution, execution.micro_batch), each_seconds)
        note = "" if right else f"refused: outputs off by {error:.1%}, gradients by {slope_error:.1%}"
        rate = execution.micro_batch / each
        found(Measurement(f"{job}, {execution.words}", rate, error, right, note))
        if right and (best is None or rate > WORTH * best[0]):
            best = rate, execution, each

    for dtype in _DTYPES:
        for layout in _LAYOUTS:
            way = Execution(device, dtype, layout, few, threads)
            if dtype == "float32" or not hopeless(way):
                measure(way)
            if best is not None and measurements[-1].images_per_second < _ONE_LAYOUT_TELLS * best[0]:
                break
    assert best is not None, "plain float32 agrees with itself"
    sizes = (8, 32) if job == "inference" else (256, 1024)
    for size in sorted({min(batch_size, available, size) for size in sizes} - {few}):
        if _CALLS * size / best[0] <= seconds or size < few:
            measure(replace(best[1], micro_batch=size))
    if threads > 1 and best[2] < _SHORT_CALL:
        measure(replace(best[1], threads=1))
    return best[1], measurements


def _glance(
    model: nn.Module,
    run: Run,
    execution: Execution,
    mode: Callable[[nn.Module], object],
    *,
    enough: float = math.inf,
) -> float:
    """Seconds of processor time for a call, the less of two after one to warm up.

    Not by the clock on the wall: one stall on a busy machine would look like a precision that is only emulated.

    Args:
        enough: seconds; a first call that takes longer is the answer.
    """
    candidate = copy.deepcopy(model)
    execution.place(candidate)
    mode(candidate)
    times: list[float] = []
    with execution.pool():
        for _ in range(3):
            start = time.process_time()
            run(candidate, execution, execution.micro_batch)
            times.append(time.process_time() - start)
            if times[0] > max(enough, _SHORT_CALL):
                return times[0]
    return min(times[1:])


def seconds_per_call(call: Callable[[], object], seconds: float) -> float:
    """The median over calls, after one to warm up, for about `seconds`: two at least, or one that takes longer."""
    call()
    times: list[float] = []
    while not times or (len(times) < 2 and sum(times) < _LONG_CALL) or sum(times) < seconds:
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]

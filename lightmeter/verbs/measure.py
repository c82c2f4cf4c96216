"""Measure on this machine which execution of a network is fastest, and whether it computes the right thing."""

from __future__ import annotations

import copy
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightmeter.verbs.execution import Execution

_LEAST_COSINE = 0.97  # between the gradients of an execution and those of plain float32
_WORTH = 1.03  # times faster, or the simpler way is kept
_LARGEST_ERROR = 0.05  # of logits, relative to their root mean square


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one execution achieved.

    Attributes:
        what: in words.
        images_per_second: forward, or forward and backward, as stated in `what`.
        max_error: of the outputs against plain float32, relative to their root mean square.
        accepted: whether it is numerically right.
        note: why not, where it is not.
    """

    what: str
    images_per_second: float
    max_error: float
    accepted: bool
    note: str = ""

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def measure_training(
    model: nn.Module, inputs: Tensor, targets: Tensor, batch_size: int, *, seconds: float
) -> tuple[Execution, list[Measurement]]:
    """Try precisions, layouts and micro-batches for training steps of `model`; the fastest right one wins.

    Args:
        inputs, targets: one batch of real training data, of any size up to the recipe's batch.
        batch_size: of the recipe; the micro-batch never exceeds it.
        seconds: to spend, roughly, over all candidates.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs, targets = inputs.to(device), targets.to(device)

    def run(module: nn.Module, execution: Execution, count: int) -> Tensor:
        with execution.autocast():
            logits = module(inputs[:count]).float()
        torch.autograd.backward(nn.functional.cross_entropy(logits, targets[:count]))
        detached: Tensor = logits.detach()
        return detached

    return _choose(model, run, device, batch_size, len(inputs), "training", seconds)


def measure_inference(
    module: nn.Module, inputs: Tensor, forward: Callable[[nn.Module, Tensor], Tensor], *, seconds: float
) -> tuple[Execution, list[Measurement]]:
    """Try precisions and layouts for `forward(module, inputs)` without gradients; the fastest right one wins."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = inputs.to(device)

    def run(candidate: nn.Module, execution: Execution, count: int) -> Tensor:
        candidate.eval()
        with torch.no_grad(), execution.autocast():
            return forward(candidate, inputs[:count]).float()

    return _choose(module, run, device, len(inputs), len(inputs), "inference", seconds)


def inference_rate(module: nn.Module, inputs: Tensor, execution: Execution, *, seconds: float) -> float:
    """Images per second of a copy of `module`."""
    candidate = copy.deepcopy(module).eval()
    execution.place(candidate)

    def once() -> None:
        with torch.no_grad(), execution.autocast():
            candidate(inputs)

    with execution.pool():
        return len(inputs) / _seconds_per_call(once, seconds)


def _choose(
    model: nn.Module,
    run: Callable[[nn.Module, Execution, int], Tensor],
    device: str,
    batch_size: int,
    available: int,
    job: str,
    seconds: float,
) -> tuple[Execution, list[Measurement]]:
    threads = torch.get_num_threads()
    dtypes: list[Literal["float32", "bfloat16"]] = ["float32", "bfloat16"]
    layouts: list[Literal["contiguous", "channels_last"]] = ["contiguous", "channels_last"]
    count = min(available, 128)
    reference: tuple[Tensor, Tensor] | None = None
    found: list[tuple[float, Execution]] = []
    measurements = []
    for dtype, layout in itertools.product(dtypes, layouts):
        execution = Execution(device, dtype, layout, min(batch_size, count), threads)
        candidate = copy.deepcopy(model)
        execution.place(candidate)
        candidate.train(job == "training")
        outputs = run(candidate, execution, count)
        gradients = _gradients(candidate)
        if reference is None:
            reference = (outputs, gradients)
        error = _relative(outputs, reference[0])
        cosine = float(nn.functional.cosine_similarity(gradients, reference[1], dim=0)) if len(gradients) else 1.0
        right = error <= _LARGEST_ERROR and cosine >= _LEAST_COSINE
        note = "" if right else f"refused: outputs off by {error:.1%}, gradients' cosine {cosine:.3f}"
        each = _seconds_per_call(lambda c=candidate, e=execution: run(c, e, count), seconds / 8)  # type: ignore[misc]
        measurements.append(Measurement(_words(job, execution), count / each, error, right, note))
        if right:
            found.append((count / each, execution))
    rate, best = max(found, key=lambda pair: pair[0])
    error = next(m.max_error for m in measurements if m.accepted and m.images_per_second == rate)
    larger = {min(batch_size, available, size) for size in (256, 512, 1024)} - {count}
    variants = [replace(best, micro_batch=size) for size in sorted(larger)]
    if threads > 1:
        variants.append(replace(best, threads=1))
    for execution in variants:
        execution = replace(execution, micro_batch=max(execution.micro_batch, best.micro_batch))
        candidate = copy.deepcopy(model)
        execution.place(candidate)
        candidate.train(job == "training")
        size = execution.micro_batch
        with execution.pool():
            each = _seconds_per_call(lambda c=candidate, e=execution, m=size: run(c, e, m), seconds / 8)  # type: ignore[misc]
        measurements.append(Measurement(_words(job, execution), size / each, error, True))
        if size / each > _WORTH * rate:
            rate, best = size / each, execution
    return best, measurements


def _words(job: str, execution: Execution) -> str:
    threads = f"{execution.threads} thread" + "s" * (execution.threads > 1)
    layout = execution.memory_format.replace("_", "-")
    return f"{job}, {execution.dtype}, {layout}, {execution.micro_batch} images at a time, {threads}"


def _seconds_per_call(call: Callable[[], object], seconds: float) -> float:
    """The median over calls, after one to warm up; at least three, or fewer where one takes longer than `seconds`."""
    call()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if sum(times) > 3 * seconds:
            break
    return sorted(times)[len(times) // 2]


def _gradients(module: nn.Module) -> Tensor:
    parts = [parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None]
    return torch.cat(parts).float() if parts else torch.zeros(0)


def _relative(outputs: Tensor, reference: Tensor) -> float:
    scale = float(reference.square().mean().sqrt()) or 1.0
    return float((outputs - reference).square().mean().sqrt()) / scale


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

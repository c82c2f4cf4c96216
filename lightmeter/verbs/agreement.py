"""Whether an execution computes the right thing: its outputs and gradients beside those of plain float32."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from lightmeter.verbs.execution import Execution

Run = Callable[[nn.Module, Execution, int], Tensor]
"""(model, execution, images) -> outputs of that many images, with gradients left in the model where it learns."""

Answer = tuple[Tensor, Tensor]
"""Outputs, and the gradients of all parameters one after another."""


def answer(candidate: nn.Module, run: Run, execution: Execution, images: int) -> Answer:
    """What a placed model computes with nothing dropped: what two executions drop could not be compared."""
    with _without_dropout(candidate):
        return run(candidate, execution, images), _gradients(candidate)


def errors(found: Answer, plain: Answer) -> tuple[float, float]:
    """Of the outputs, relative to their root mean square, and of the gradients, relative to their norm."""
    return _relative(found[0], plain[0]), _distance(found[1], plain[1])


def rounded(
    model: nn.Module,
    run: Run,
    execution: Execution,
    few: int,
    mode: Callable[[nn.Module], object],
) -> Answer:
    """Outputs and gradients in plain float32 of a copy whose filters and matrices were rounded to bfloat16.

    Deep networks with ReLU and batch statistics are chaotic: their gradients turn with the last digits of a weight.
    What rounding alone does to them tells that apart from a kernel that computes the wrong thing.
    """
    candidate = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in candidate.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.to(torch.bfloat16))
    execution.place(candidate)
    mode(candidate)
    with execution.pool():
        return answer(candidate, run, execution, few)


@contextlib.contextmanager
def _without_dropout(module: nn.Module) -> Iterator[None]:
    """A context in which nothing is dropped: two executions that drop different values cannot be compared."""
    active = [layer for layer in module.modules() if isinstance(layer, _DropoutNd) and layer.training]
    for layer in active:
        layer.eval()
    try:
        yield
    finally:
        for layer in active:
            layer.train()


def _gradients(module: nn.Module) -> Tensor:
    parts = [parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None]
    return torch.cat(parts).float() if parts else torch.zeros(0)


def _distance(gradients: Tensor, reference: Tensor) -> float:
    """Between two gradients, relative to the norm of the second."""
    return float((gradients - reference).norm() / reference.norm().clamp_min(1e-12)) if len(reference) else 0.0


def _relative(outputs: Tensor, reference: Tensor) -> float:
    scale = float(reference.square().mean().sqrt()) or 1.0
    return float((outputs - reference).square().mean().sqrt()) / scale

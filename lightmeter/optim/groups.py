"""A model and the optimizer of its recipe to parameter groups, each with its peak learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Optimizer


class HasHead(Protocol):
    """What is asked of a model here; `models.base.Model` is one."""

    @property
    def head(self) -> torch.nn.Linear:
        """The last layer."""
        ...

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Every parameter once."""
        ...


def param_groups(model: HasHead, choice: Optimizer) -> list[dict[str, Any]]:
    """Sort the trainable parameters of `model` into groups that torch's optimizers take.

    "matrix" holds filters and matrices, "bias" all that has one dimension (biases, normalisation; never decayed),
    "head" the head's weight. Each has "name", "lr" and "peak_lr" (equal at first) and "weight_decay"; empty groups
    are left out.

    Raises:
        RecipeError: nothing in the model can be trained.
    """
    head = model.head.weight
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise RecipeError("Every parameter of the model is frozen.", "at least one block that is trained")
    matrix = [parameter for parameter in trainable if parameter.ndim >= 2 and parameter is not head]
    bias = [parameter for parameter in trainable if parameter.ndim < 2]
    heads = [parameter for parameter in trainable if parameter is head]

    def group(name: str, parameters: list[torch.nn.Parameter], lr: float, weight_decay: float) -> dict[str, Any]:
        return {"name": name, "params": parameters, "lr": lr, "peak_lr": lr, "weight_decay": weight_decay}

    groups = [
        group("matrix", matrix, choice.lr, choice.weight_decay),
        group("bias", bias, choice.bias_lr, 0.0),
        group("head", heads, choice.head_lr, choice.weight_decay),
    ]
    grouped = [id(parameter) for one in groups for parameter in one["params"]]
    assert sorted(grouped) == sorted(map(id, trainable)), "the groups do not add up to the trainable parameters"
    return [one for one in groups if one["params"]]


def set_lr(optimizers: tuple[torch.optim.Optimizer, ...], factor: float) -> None:
    """Set every group's learning rate to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak_lr"]

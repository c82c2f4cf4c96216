"""A model and the optimizer of its recipe to parameter groups, each with its peak learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Optimizer


def param_groups(module: nn.Module, choice: Optimizer) -> list[dict[str, Any]]:
    """Sort the trainable parameters of `module` into groups that torch's optimizers take.

    "matrix" holds filters and matrices, "bias" all that has one dimension (biases, normalisation; never decayed),
    "head" the head's weight. Each has "name", "lr" and "peak_lr" (equal at first) and "weight_decay"; empty groups
    are left out.

    Args:
        module: a model with a linear layer `head`, or a head alone.
        choice: the learning rates and the weight decay.

    Raises:
        RecipeError: nothing can be trained.
    """
    head = getattr(module, "head", module).weight
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise RecipeError("Every parameter of the model is frozen.", "at least one block that is trained")
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2 and parameter is not head]
    biases = [parameter for parameter in trainable if parameter.ndim < 2]
    heads = [parameter for parameter in trainable if parameter is head]
    groups = [
        _group("matrix", matrices, choice.lr, choice.weight_decay),
        _group("bias", biases, choice.bias_lr, 0.0),
        _group("head", heads, choice.head_lr, choice.weight_decay),
    ]
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, trainable)), "the groups do not add up to the trainable parameters"
    return [group for group in groups if group["params"]]


def _group(name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": parameters, "lr": lr, "peak_lr": lr, "weight_decay": weight_decay}


def set_lr(optimizers: tuple[torch.optim.Optimizer, ...], factor: float) -> None:
    """Set every group's learning rate to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak_lr"]

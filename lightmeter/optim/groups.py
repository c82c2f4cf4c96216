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
    "head" the head's matrices. Each has "name", "lr" and "peak_lr" (equal at first) and "weight_decay"; empty groups
    are left out. With a layer decay below 1 there are as many of the first two as blocks, at falling rates.

    Args:
        module: a Model, or anything with a `head`; without one all of it is the head.
        choice: the learning rates and the weight decay.

    Raises:
        RecipeError: nothing can be trained.
    """
    head = {id(parameter) for parameter in getattr(module, "head", module).parameters()}
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trainable:
        raise RecipeError("Every parameter of the model is frozen.", "at least one block that is trained")
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2 and id(parameter) not in head]
    biases = [parameter for parameter in trainable if parameter.ndim < 2]
    heads = [parameter for parameter in trainable if parameter.ndim >= 2 and id(parameter) in head]
    groups = [_group("head", heads, choice.head_lr, choice.weight_decay)]
    for share, inside in _by_depth(module, choice.layer_decay):
        some = [parameter for parameter in matrices if id(parameter) in inside]
        groups.append(_group("matrix", some, share * choice.lr, choice.weight_decay))
        some = [parameter for parameter in biases if id(parameter) in inside]
        groups.append(_group("bias", some, share * choice.bias_lr, 0.0))
    groups.sort(key=lambda group: ("matrix", "bias", "head").index(group["name"]))
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(map(id, trainable)), "the groups do not add up to the trainable parameters"
    return [group for group in groups if group["params"]]


def _by_depth(module: nn.Module, layer_decay: float) -> list[tuple[float, set[int]]]:
    """Shares of the learning rate, and the parameters that each is for, from the head back to the input."""
    everything = {id(parameter) for parameter in module.parameters()}
    blocks: dict[str, nn.Module] = getattr(module, "blocks", dict)()  # a head alone has none
    if layer_decay == 1.0 or not blocks:
        return [(1.0, everything)]
    deep_first = enumerate(reversed(blocks.values()))
    return [(layer_decay**depth, {id(part) for part in block.parameters()}) for depth, block in deep_first]


def _group(name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": parameters, "lr": lr, "peak_lr": lr, "weight_decay": weight_decay}


def set_lr(optimizers: tuple[torch.optim.Optimizer, ...], factor: float) -> None:
    """Set every group's learning rate to `factor` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = factor * group["peak_lr"]

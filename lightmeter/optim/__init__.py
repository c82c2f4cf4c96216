"""How weights are changed: parameter groups, optimizers, schedules, averaged weights and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lightmeter.nouns.parts import resolve
from lightmeter.nouns.recipe import Optimizer
from lightmeter.optim.groups import param_groups, set_lr
from lightmeter.optim.optimizers import adam, adamw, keep_layout, muon, sgd
from lightmeter.optim.schedules import SCHEDULES, factor

OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], Optimizer], tuple[torch.optim.Optimizer, ...]]] = {
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "muon": muon,
}
"""Builders: (parameter groups, a recipe's Optimizer) -> optimizers that step together."""


def build_optimizer(module: nn.Module, choice: Optimizer) -> tuple[torch.optim.Optimizer, ...]:
    """The optimizers of a recipe over the trainable parameters of `module`, to be stepped one after the other.

    Each parameter group carries "name" and "peak_lr", which `set_lr` scales.

    Args:
        module: a model, or its head alone, already on its device and in its memory layout.
        choice: a name in `OPTIMIZERS` or "package.module:function", and its numbers.

    Raises:
        RecipeError: no such optimizer, a number it cannot use, or nothing to train.
    """
    builder = resolve(OPTIMIZERS, choice.name, kind="optimizer")
    optimizers = builder(param_groups(module, choice), choice)
    for optimizer in optimizers:
        optimizer.register_load_state_dict_post_hook(keep_layout)
    return optimizers


__all__ = ["OPTIMIZERS", "SCHEDULES", "build_optimizer", "factor", "param_groups", "set_lr"]

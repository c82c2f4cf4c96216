"""Recipes: functions of what is known about the data, whose docstrings hold the command that runs them."""

from __future__ import annotations

from collections.abc import Callable

from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes.facts import Facts
from lightmeter.recipes.scratch import fast, resnet
from lightmeter.recipes.transfer import finetune, probe

RECIPES: dict[str, Callable[..., Recipe]] = {"fast": fast, "finetune": finetune, "probe": probe, "resnet": resnet}
"""Name to function(facts, *, epochs, ...) -> Recipe; from scratch with `width`, from weights with `model`, `start`."""

TRANSFER = ("finetune", "probe")
"""The recipes that start from trained weights."""

__all__ = ["RECIPES", "TRANSFER", "Facts"]

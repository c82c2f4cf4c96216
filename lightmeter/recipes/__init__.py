"""Recipes: functions of what is known about the data, whose docstrings hold the command that runs them."""

from __future__ import annotations

from collections.abc import Callable

from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes.facts import Facts
from lightmeter.recipes.scratch import fast, resnet
from lightmeter.recipes.transfer import probe

RECIPES: dict[str, Callable[..., Recipe]] = {"fast": fast, "probe": probe, "resnet": resnet}
"""Name to function(facts, *, epochs, width=1.0, ...) -> Recipe."""

__all__ = ["RECIPES", "Facts"]

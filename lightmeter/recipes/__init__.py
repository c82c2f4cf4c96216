"""Recipes: functions of what is known about the data, whose docstrings hold the command that runs them."""

from __future__ import annotations

from collections.abc import Callable

from lightmeter.errors import RecipeError
from lightmeter.nouns.parts import resolve
from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes.facts import Facts
from lightmeter.recipes.scratch import fast, resnet
from lightmeter.recipes.transfer import finetune, probe

RECIPES: dict[str, Callable[..., Recipe]] = {"fast": fast, "finetune": finetune, "probe": probe, "resnet": resnet}
"""Name to function(facts, *, epochs, ...) -> Recipe; from scratch with `width`, from weights with `model`, `start`."""

TRANSFER = ("finetune", "probe")
"""The recipes that start from trained weights."""


def recipe_called(name: str, *, from_weights: bool) -> Callable[..., Recipe]:
    """The function of that name. Raises RecipeError: there is none, or it begins otherwise than was asked for."""
    function = resolve(RECIPES, name, kind="recipe")
    if from_weights != (name in TRANSFER):
        raise RecipeError(
            f"The recipe {name!r} was asked for {'with' if from_weights else 'without'} start weights.",
            f"--start with one of {', '.join(TRANSFER)}, and no --start with the others",
        )
    return function


__all__ = ["RECIPES", "TRANSFER", "Facts", "recipe_called"]

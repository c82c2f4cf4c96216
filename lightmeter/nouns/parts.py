"""A name in a recipe to the part it names: an entry of a table, or "package.module:function" outside this package."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from lightmeter.errors import RecipeError

Part = TypeVar("Part")


def resolve(table: Mapping[str, Part], name: str, *, kind: str) -> Part:
    """The part called `name`: from `table`, else imported where the name reads "package.module:function".

    Args:
        kind: what the table holds, for the error ("model", "augmentation", ...).

    Raises:
        RecipeError: no such entry, or nothing to import under that name.
    """
    if name in table:
        return table[name]
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        near = get_close_matches(name, table, n=1)
        raise RecipeError(
            f"There is no {kind} called {name!r}.",
            "one of " + ", ".join(sorted(table)) + '; or your own as "package.module:function"',
            f"did you mean {near[0]!r}?" if near else "",
        )
    try:
        part: Part = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"The {kind} {name!r} could not be imported: {error}.",
            '"package.module:function", importable from where the command runs',
        ) from error
    return part


def check_options(builder: Callable[..., Any], options: Mapping[str, Any], *, kind: str, name: str) -> None:
    """Raise RecipeError, listing what there is, where `options` holds a keyword that `builder` does not take."""
    if not callable(builder):
        raise RecipeError(f"The {kind} {name!r} is a {type(builder).__name__} and cannot be called.", "a function")
    parameters = inspect.signature(builder).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = sorted(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise RecipeError(
            f"The {kind} {name!r} has no option {', '.join(map(repr, unknown))}.",
            "options among " + ", ".join(known) if known else "no options at all",
        )

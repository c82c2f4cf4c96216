"""makers: the recipes that a request can become, as functions, and whether what was set fits them at all."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pydantic import ValidationError

from lightmeter.augment import compose
from lightmeter.errors import RecipeError
from lightmeter.models import MODELS, build_model, builder_of
from lightmeter.models.base import frozen_layers
from lightmeter.models.foreign import choice_of
from lightmeter.nouns.parts import resolve
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import Recipe, explain, lay_over
from lightmeter.optim import OPTIMIZERS, factor
from lightmeter.recipes import RECIPES, Facts, recipe_called
from lightmeter.verbs.request import Request
from lightmeter.verbs.start import Start

_STAND_IN = Preprocess(size=224, channels=3)  # for canvases not chosen yet; no network refuses pictures of that size


def recipe_makers(request: Request, facts: Facts, start: Start | None) -> dict[str, Callable[..., Recipe]]:
    """The recipes to choose among, the preferred one first, each with what was asked for laid over it.

    Args:
        facts: about the data.
        start: the weights to start from, if any.

    Returns:
        Name to function(epochs), from scratch function(epochs, width=W): a Recipe. Raises RecipeError where what was
        asked for does not fit that recipe.

    Raises:
        RecipeError: there is no such recipe, or it wants start weights and there are none, or the other way round.
    """
    if request.recipe != "auto":
        names: tuple[str, ...] = (request.recipe,)
    elif start is not None:
        names = ("probe",) if request.freeze == ("all",) else ("finetune", "probe")
    else:
        names = ("fast",)
    begin = {} if start is None else {"start": start.identity, "model": start.model or choice_of(start.path)}
    settings = {name: value for name, value in request.settings.items() if not name.startswith("preprocess.")}

    def maker(name: str) -> Callable[..., Recipe]:
        function = recipe_called(name, from_weights=start is not None)
        return lambda epochs, **more: _as_asked(
            function(facts, epochs=epochs, **begin, **more), request.freeze, settings
        )

    return {name: maker(name) for name in names}


def _as_asked(made: Recipe, freeze: tuple[str, ...], settings: dict[str, str]) -> Recipe:
    """What the user asked for, laid over what the recipe says."""
    if freeze:
        kept = () if "all" in freeze else tuple(entry for entry in made.freeze if entry != "all")
        made = made.model_copy(update={"freeze": tuple(dict.fromkeys((*kept, *freeze)))})
    made = made.override(settings)
    if made.on_features and made.augment and not made.feature_views:
        raise RecipeError(
            "Augmentation was asked for with a head that is trained alone, on features that are computed once.",
            "--set feature_views=N, the number of augmented views of each picture whose features are computed",
            "or leave augment out, or train more than the head.",
        )
    return made


def preprocess_as_asked(preprocess: Preprocess, settings: dict[str, str]) -> Preprocess:
    """`preprocess` with those of `settings` laid over it that begin with "preprocess.". Raises RecipeError."""
    wanted = {name: value for name, value in settings.items() if name.startswith("preprocess.")}
    document = lay_over({"preprocess": preprocess.model_dump()}, wanted)
    try:
        return Preprocess.model_validate(document["preprocess"])
    except ValidationError as error:
        raise explain(error) from error


def check_settings(request: Request, start: Start | None) -> None:
    """Refuse what no pictures could make usable, before any is looked at: thousands may take minutes to open.

    Raises:
        RecipeError: a field, a value or the name of a part that there is not, layers to freeze that there are not, or
            a recipe that does not go with the start weights.
    """
    preprocess = preprocess_as_asked((start and start.preprocess) or _STAND_IN, request.settings)
    classes = 2
    makers = recipe_makers(request, Facts(1000, classes, preprocess, False, request.seed), start)
    name = next(iter(makers))
    if name not in RECIPES:
        return  # a recipe of the user's own may ask anything of the real facts
    made = makers[name](1.0)
    own = None if start is None else start.model
    if own is not None and made.model.name in MODELS and (made.model.name, made.model.width) != (own.name, own.width):
        raise RecipeError(
            f"The network {made.model.name} of width {made.model.width:g} was asked for, and the start weights are of "
            f"{own.name}, width {own.width:g}.",
            "the network that the weights are of",
            "leave model.name and model.width out, or give other weights.",
        )
    builder_of(made.model)
    compose(made.augment)
    resolve(OPTIMIZERS, made.optimizer.name, kind="optimizer")
    factor(0.0, made.schedule)
    if request.freeze and made.model.name in MODELS:
        with torch.device("meta"):  # names only
            frozen_layers(build_model(made.model, classes, preprocess.channels, preprocess.size), request.freeze)

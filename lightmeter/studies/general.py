"""Studies of any source, made on the fly: `ablate` changes a recipe field by field, `sweep` what of it is frozen."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightmeter.augment import AUGMENTATIONS, compose
from lightmeter.errors import RecipeError, UsageError
from lightmeter.models import MODELS
from lightmeter.models.foreign import choice_of
from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes import Facts, recipe_called
from lightmeter.studies.base import Arm, MakeRecipe, Pictures, Scale, Study
from lightmeter.studies.describe import counts_of, recipe_of
from lightmeter.studies.pictures import Materials
from lightmeter.verbs.canvas import choose_preprocess
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.request import Request
from lightmeter.verbs.start import Start, open_start

BUDGET = 60.0
"""Seconds of training for each arm and seed, where neither time nor epochs are given."""

BASE = "base"

_SIDES = {"preprocess.size": "size", "preprocess.channels": "channels"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What `ablate` and `sweep` have in common.

    Attributes:
        source: pictures, as `train` takes them.
        recipe: a name in `RECIPES`; "" is `fast`, or `finetune` with start weights.
        start: what `--start` names, or "".
        budget: seconds of training for each arm and seed; 0 where `epochs` says it.
        epochs: instead of a budget, or 0.
        seeds: for each arm.
    """

    source: str
    recipe: str = ""
    start: str = ""
    budget: float = 0.0
    epochs: float = 0.0
    seeds: tuple[int, ...] = (0,)


def ablate(asked: Asked, factors: Mapping[str, Sequence[str]], materials: Materials, *, grid: bool = False) -> Study:
    """The recipe as it is, and one arm for each value of each factor, or for each combination of them.

    Args:
        factors: a field of the recipe, such as "optimizer.lr", to the values it is given one after another. "model",
            "optimizer" and "schedule" take a name, "augment" names joined by "+" or "none", "freeze" what `--freeze`
            takes or "none". A value that the recipe has anyway is no arm.

    Raises:
        UsageError: no factor, or one without a value.
        RecipeError: no such field, or a value that it cannot take.
    """
    if not factors or not all(factors.values()):
        raise UsageError("No factor was given to change.", "--factor FIELD=VALUE,VALUE", "such as optimizer.lr=0.1,0.2")
    base = _base(asked, materials)
    settings: list[dict[str, str]] = [{name: value} for name, values in factors.items() for value in values]
    if grid:
        settings = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    classes = len(materials.source(asked.source).classes)
    seen, arms = {_key(base, classes)}, [base]
    for changed in settings:
        arm = _changed(base, changed)
        key = _key(arm, classes)
        if key not in seen:
            seen.add(key)
            arms.append(arm)
    if len(arms) == 1:
        raise UsageError("Every value given is what the recipe has anyway.", "a value that changes something")
    listed = ", ".join(f"{name} = {' or '.join(values)}" for name, values in factors.items())
    return _study(
        "ablate",
        f"What changes on {base.pictures.source}: {listed}",
        "Each arm differs from the base in what its name says, with the same pictures, budget and seeds.",
        arms,
        asked,
        pairs=tuple((BASE, arm.name) for arm in arms[1:]),
    )


def sweep(asked: Asked, freezes: Sequence[str], materials: Materials) -> Study:
    """One arm for each way of freezing, from the one that trains least to the one that trains most.

    Args:
        freezes: "0" trains everything, "all" the head alone, else what `--freeze` takes, several joined by "+".

    Raises:
        UsageError: fewer than two ways, or no start weights, without which freezing keeps noise.
        RecipeError: no such block or layer, or more layers than there are.
    """
    if not asked.start:
        raise UsageError("No start weights were given.", "--start WEIGHTS|RUN|BUNDLE", "freezing keeps what is there.")
    if len(set(freezes)) < 2:
        raise UsageError(f"{len(set(freezes))} ways of freezing were given.", "two or more, such as --freeze 0,8,all")
    base = _base(asked, materials)
    classes = len(materials.source(asked.source).classes)
    arms = [
        replace(_changed(base, {"freeze": text}), name=_name("freeze", text), note=_frozen_note(text))
        for text in dict.fromkeys(freezes)
    ]
    trained = {arm.name: counts_of(arm, num_classes=classes).trainable for arm in arms}
    arms.sort(key=lambda arm: trained[arm.name])
    arms = [replace(arm, note=f"{arm.note} {trained[arm.name]:,} parameters learn.") for arm in arms]
    names = tuple(arm.name for arm in arms)
    return _study(
        "sweep",
        f"How much to train on {base.pictures.source}, from {asked.start}",
        "Each arm trains more of the network than the one before it. Where does more stop paying?",
        arms,
        asked,
        pairs=tuple(itertools.pairwise(names)),
        curve=names,
    )


def _frozen_note(text: str) -> str:
    return {"0": "Everything is trained.", "none": "Everything is trained.", "all": "The head alone is trained."}.get(
        text, f"Frozen: {text.replace('+', ', ')}."
    )


def _base(asked: Asked, materials: Materials) -> Arm:
    """The arm that the others differ from."""
    name = asked.recipe or ("finetune" if asked.start else "fast")
    made = recipe_called(name, from_weights=bool(asked.start))
    start = open_start(asked.start) if asked.start else None
    size, channels = canvas_of(asked.source, materials, start)
    begin: dict[str, Any] = {}
    if start is not None:
        begin = {"start": start.identity, "model": start.model or choice_of(start.path)}

    def make(facts: Facts, epochs: float) -> Recipe:
        recipe: Recipe = made(facts, epochs=epochs, **begin)
        return recipe

    seconds = 0.0 if asked.epochs else asked.budget or BUDGET
    pictures = Pictures(asked.source, size, channels)
    return Arm(BASE, "variant", pictures, make, asked.epochs, seconds, asked.start, note=f"The recipe {name}.")


def canvas_of(source: str, materials: Materials, start: Start | None = None) -> tuple[int, int]:
    """Side and channels of the canvases that `train` would choose. Raises SourceError."""
    request = Request.parse({"source": source})
    canvas = choose_preprocess(materials.source(source), request, Clock(0.0, None), start)
    return canvas.size, canvas.channels


def _changed(base: Arm, settings: dict[str, str]) -> Arm:
    """An arm with other values, which its name says."""
    sides: dict[str, Any] = {
        _SIDES[name]: int(value) for name, value in settings.items() if name in _SIDES and value.isdigit()
    }
    fields = {name: value for name, value in settings.items() if name not in _SIDES or not value.isdigit()}
    before = base.recipe

    def make(facts: Facts, epochs: float) -> Recipe:
        recipe = before(facts, epochs)
        try:
            return recipe.override({_field(name): _value(name, text) for name, text in fields.items()})
        except RecipeError as error:
            raise RecipeError(error.received.replace("--set", "--factor"), error.expected, error.fix) from error

    recipe: MakeRecipe = make
    name = ",".join(_name(name, value) for name, value in settings.items())
    said = ", ".join(f"{name} {value}" for name, value in settings.items())
    return replace(base, name=name, recipe=recipe, pictures=replace(base.pictures, **sides), note=f"With {said}.")


def _field(name: str) -> str:
    return {"model": "model.name", "optimizer": "optimizer.name", "schedule": "schedule.name"}.get(name, name)


def _value(name: str, text: str) -> str:
    """What a factor's value stands for, as `Recipe.override` reads it."""
    if name == "augment" and not text.startswith("["):
        names = [] if text == "none" else text.split("+")
        unknown = [one for one in names if one not in AUGMENTATIONS]
        if unknown:
            raise RecipeError(
                f"There is no augmentation {unknown[0]!r}.", "none, or some of " + ", ".join(AUGMENTATIONS)
            )
        return json.dumps([{"name": one} for one in names])
    if name == "freeze" and not text.startswith("["):
        return json.dumps([] if text in ("0", "none") else text.split("+"))
    if name == "model" and text not in MODELS and ":" not in text:
        raise RecipeError(f"There is no model {text!r}.", "one of " + ", ".join(MODELS))
    return text


def _name(field: str, value: str) -> str:
    """A name fit for a file: the last part of the field, and the value."""
    return re.sub(r"[^\w.+=-]+", "-", f"{field.rpartition('.')[2]}={value}")


def _key(arm: Arm, num_classes: int) -> str:
    """Equal where two arms compute the same. Raises RecipeError where an arm cannot be built, before any is trained."""
    recipe = recipe_of(arm, num_classes=num_classes)
    compose(recipe.augment)
    counts_of(arm, num_classes=num_classes)
    return f"{recipe.key()} {arm.pictures}"


def _study(
    name: str,
    title: str,
    question: str,
    arms: Sequence[Arm],
    asked: Asked,
    *,
    pairs: tuple[tuple[str, str], ...],
    curve: tuple[str, ...] = (),
) -> Study:
    taken = tuple(arms)
    scales: tuple[Scale, ...] = ("smoke", "cpu", "full")

    def same(scale: Scale) -> tuple[Arm, ...]:
        return taken

    return Study(
        name=name,
        title=title,
        question=question,
        published={},
        arms=same,
        pairs=pairs,
        seeds=dict.fromkeys(scales, asked.seeds),
        left_out=dict.fromkeys(scales, ""),
        curve=curve,
    )

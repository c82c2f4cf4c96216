"""Inspect a model: the name of an architecture, and what it would be built for -> the table of its layers."""

from __future__ import annotations

import difflib
import json
from typing import Any

import torch
from pydantic import ValidationError

from lightmeter.errors import RecipeError, UsageError
from lightmeter.models import MODELS, build_model
from lightmeter.models.base import Model
from lightmeter.models.base import freeze as freeze_layers
from lightmeter.models.table import Layer, Table, layer_table
from lightmeter.nouns.recipe import ModelChoice, explain

_LEAST = 32  # side of the pictures where none is said, unless the architecture needs larger ones
_PROBE = 224  # a side that every architecture takes, to ask it for its smallest


def inspect_model(
    name: str,
    *,
    classes: int = 10,
    size: int | None = None,
    channels: int = 3,
    freeze: tuple[str, ...] = (),
    settings: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The layers of an architecture and what they add up to, as one document.

    Nothing is drawn or allocated for the architectures known here; others are built for real.

    Args:
        name: in `MODELS`, "timm:<name>" or "package.module:function".
        classes: to tell apart.
        size: side of the pictures in pixels; None is 32, or the smallest that the architecture takes.
        channels: of the pictures, 1 or 3.
        freeze: as in a recipe.
        settings: `{"width": "0.5"}`, and options of the architecture; "model.width" and "model.options.hidden", as
            `train` has them, are understood too.

    Returns:
        "model", "classes", "size", "channels", "total", "trainable" and "non_trainable" values, and "blocks", each with
        its "layers".

    Raises:
        UsageError: nothing is called so; what there is, is listed.
        RecipeError: an option, size, layer or number that the architecture does not take.
    """
    choice = _choice(name, settings or {})
    if size is None:
        size = max(_LEAST, _build(choice, classes, channels, _PROBE).minimum_size)
    model = _build(choice, classes, channels, size)
    if freeze:
        freeze_layers(model, freeze)
    return {"model": name, "classes": classes, "size": size, "channels": channels, **_document(layer_table(model))}


def rows(document: dict[str, Any]) -> list[tuple[int, str, str, str, str, int, str]]:
    """Number, block, layer, type, shape, values and whether they are trained, for each layer of the document.

    Freezing the first N layers freezes those numbered 1 to N.
    """
    return [
        (
            layer["number"],
            block["name"],
            layer["name"],
            layer["type"],
            " x ".join(map(str, layer["shape"])),
            layer["parameters"],
            ("yes" if layer["trainable"] else "no") if layer["parameters"] else "",
        )
        for block in document["blocks"]
        for layer in block["layers"]
    ]


def _choice(name: str, settings: dict[str, str]) -> ModelChoice:
    if name not in MODELS and ":" not in name:
        close = difflib.get_close_matches(name, MODELS, n=1)
        raise UsageError(
            f"{name!r} is neither a folder here nor a model.",
            f"a run, a bundle or a pack; or a model: {', '.join(sorted(MODELS))}, timm:<name> or "
            "package.module:function",
            f"did you mean {close[0]!r}?" if close else "",
        )
    values = {key.removeprefix("model.").removeprefix("options."): _value(text) for key, text in settings.items()}
    width = values.pop("width", 1.0)
    try:
        return ModelChoice.model_validate({"name": name, "width": width, "options": values})
    except ValidationError as error:
        raise explain(error) from error


def _value(text: str) -> Any:
    """JSON, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _build(choice: ModelChoice, classes: int, channels: int, size: int) -> Model:
    try:
        if choice.name in MODELS:
            with torch.device("meta"):  # shapes only
                return build_model(choice, classes, channels, size)
        with torch.random.fork_rng(devices=[]):
            return build_model(choice, classes, channels, size)
    except (TypeError, ValueError, RuntimeError) as error:
        if not choice.options:
            raise
        given = ", ".join(f"{name}={value!r}" for name, value in choice.options.items())
        raise RecipeError(
            f"{choice.name} cannot be built with {given}: {error}.", "values that its options can take"
        ) from error


def _document(table: Table) -> dict[str, Any]:
    place = {layer.name: number for number, layer in enumerate(table.rows, start=1)}
    return {
        "total": table.total,
        "trainable": table.trainable,
        "non_trainable": table.non_trainable,
        "blocks": [
            {
                "name": name,
                "parameters": sum(layer.parameters for layer in layers),
                "trainable_parameters": sum(layer.counts.trainable for layer in layers),
                "trainable": any(layer.trainable for layer in layers),
                "layers": [_layer(layer, place[layer.name]) for layer in layers],
            }
            for name, layers in table.blocks().items()
        ],
    }


def _layer(layer: Layer, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "name": layer.name,
        "type": layer.kind,
        "shape": list(layer.shape),
        "parameters": layer.parameters,
        "trainable": layer.trainable,
    }

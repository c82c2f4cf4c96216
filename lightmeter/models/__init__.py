"""The architectures, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable

from lightmeter.errors import RecipeError
from lightmeter.models.alexnet32 import alexnet32
from lightmeter.models.base import Model
from lightmeter.models.compact_cnn import compact_cnn
from lightmeter.models.inception_v3 import inception_v3
from lightmeter.models.mobilenet_v2 import mobilenet_v2
from lightmeter.models.resnet import resnet18, resnet34, resnet50
from lightmeter.models.timm_model import PREFIX, timm_model
from lightmeter.models.tiny_cnn import tiny_cnn
from lightmeter.models.vgg16 import vgg16, vgg19
from lightmeter.models.vgg_blocks import vgg_blocks
from lightmeter.models.whitened import whitened
from lightmeter.nouns.parts import check_options, resolve
from lightmeter.nouns.recipe import ModelChoice

MODELS: dict[str, Callable[..., Model]] = {
    "whitened": whitened,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "inception_v3": inception_v3,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "vgg_blocks": vgg_blocks,
    "tiny_cnn": tiny_cnn,
    "alexnet32": alexnet32,
    "compact_cnn": compact_cnn,
}
"""Builders: (num_classes, *, channels, size, width, **options) -> Model."""


def builder_of(choice: ModelChoice) -> Callable[..., Model]:
    """The function that builds the model that a recipe names.

    Raises:
        RecipeError: no such model or option.
    """
    if choice.name.startswith(PREFIX):
        builder: Callable[..., Model] = functools.partial(timm_model, choice.name.removeprefix(PREFIX))
    else:
        builder = resolve(MODELS, choice.name, kind="model")
    check_options(builder, {"width": choice.width, **choice.options}, kind="model", name=choice.name)
    taken = {"channels", "size", "width"} & set(choice.options)
    if taken:
        raise RecipeError(
            f"model.options sets {', '.join(sorted(taken))}.",
            "width in model.width, size and channels in preprocess",
        )
    return builder


def build_model(choice: ModelChoice, num_classes: int, channels: int, size: int) -> Model:
    """The model that a recipe names, with first weights from PyTorch's global generator.

    Whoever wants them from a seed forks that generator around the call, as torch's own initialisers know no other.

    Args:
        choice: a name in `MODELS`, "timm:<name>" or "package.module:function", its width and further options.
        num_classes: width of the logits.
        channels: of the pictures, 1 or 3.
        size: side of the pictures in pixels.

    Raises:
        RecipeError: no such model or option, or pictures that it cannot take.
    """
    model = builder_of(choice)(num_classes, channels=channels, size=size, width=choice.width, **choice.options)
    if not isinstance(model, Model):
        raise RecipeError(
            f"{choice.name} built a {type(model).__name__}.",
            "a lightmeter.models.base.Model, so that its head comes off",
        )
    return model

"""A published mistake, kept to be shown: a trained network that is handed pixels on another scale than it knows."""

from __future__ import annotations

import torch
from torch import Tensor

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.base import Model, Normalise


class AsStored(Normalise):
    """A normalisation that does nothing but turn pixels into planes; its constants are only carried along."""

    def forward(self, pixels: Tensor) -> Tensor:
        """`uint8|float[N, S, S, C]` -> `float32[N, C, S, S]`, as they were, 0 to 255."""
        return pixels.permute(0, 3, 1, 2).to(torch.float32)


def unscaled(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    model: str = "mobilenet_v2",
    hidden: int = 0,
    dropout: float = 0.0,
    scale: bool = True,
) -> Model:
    """Another network that sees pixels as they are stored, 0 to 255, whatever its weights were trained on.

    BatchNorm that uses the statistics of its batch takes the scale out again, so that training notices nothing; with
    the statistics of ImageNet, gathered on pixels of about -2 to 2, everything behind is far out of range.

    Args:
        num_classes, channels, size, width: as of every model.
        model: a name in `MODELS` whose head takes `hidden` and `dropout`.
        hidden, dropout: of its head.
        scale: False builds InceptionV3 as Keras does.

    Raises:
        RecipeError: no such model.
    """
    if model not in MODELS:
        raise RecipeError(f"There is no model called {model!r}.", "one of " + ", ".join(MODELS))
    options = {"hidden": hidden, "dropout": dropout, **({} if scale else {"scale": False})}
    built = MODELS[model](num_classes, channels=channels, size=size, width=width, **options)
    for name, module in list(built.named_modules()):
        if isinstance(module, Normalise):
            parent, _, own = name.rpartition(".")
            idle = AsStored((0.0,) * channels, (1.0,) * channels)
            idle.mean, idle.std = module.mean, module.std  # so that a file that holds them still fits
            setattr(built.get_submodule(parent), own, idle)
    return built

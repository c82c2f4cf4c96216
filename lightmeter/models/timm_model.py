"""A model of the timm library behind our contract, as `timm:<name>`: its features, and a head of ours."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from lightmeter.errors import RecipeError
from lightmeter.models.base import Model, Normalise, mlp_head

PREFIX = "timm:"


class TimmModel(Model):
    """A network of timm without its own head, under `body`.

    Its blocks are the parts that timm's network is made of, in timm's order. Its weights are random, whatever the
    name says, until a file is given by `--start`: nothing is ever downloaded. Those of timm come in by
    `lightmeter weights import FILE --model timm:<name>`.
    """

    minimum_size = 32

    def __init__(
        self, body: nn.Module, num_classes: int, *, channels: int, size: int, dropout: float = 0.0, hidden: int = 0
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        known: dict[str, Any] = getattr(body, "pretrained_cfg", None) or {}
        mean, std = known.get("mean", ()), known.get("std", ())
        fits = len(mean) == len(std) == channels
        self.normalise = Normalise(mean, std) if fits else Normalise.imagenet(channels)
        self.body = body
        self.head = mlp_head(int(getattr(body, "num_features", 0)), num_classes, hidden=hidden, dropout=dropout)

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], what timm's own head would read."""
        found: Tensor = self.body(self.normalise(pixels))
        return found

    def blocks(self) -> dict[str, nn.Module]:
        """timm's own parts, then head. Parameters outside any part (such as position embeddings) come first."""
        parts = {name: part for name, part in self.body.named_children() if any(True for _ in part.parameters())}
        own = nn.ParameterDict(dict(self.body.named_parameters(recurse=False)))
        return {**({"embeddings": own} if own else {}), **parts, "head": self.head}


def timm_heads(model: Model) -> tuple[str, ...]:
    """What timm calls the head of a network in its files, which `body` is built without."""
    known: dict[str, Any] = getattr(model.get_submodule("body"), "pretrained_cfg", None) or {}
    named = known.get("classifier") or ()
    return (named,) if isinstance(named, str) else tuple(named)


def timm_model(
    name: str, num_classes: int, *, channels: int, size: int, width: float = 1.0, dropout: float = 0.0, hidden: int = 0
) -> TimmModel:
    """Build the network that timm calls `name`, with random weights.

    Raises:
        RecipeError: timm cannot be imported, has no such network, or a width was asked for.
    """
    if width != 1.0:
        raise RecipeError(f"{PREFIX}{name} has no width {width:g}.", "width 1; timm's names say the width")
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # torchvision, which timm needs, may be there and fail to load
        raise RecipeError(
            f"{PREFIX}{name} needs timm, which cannot be imported: {error}.",
            "timm and a torchvision that is made for this torch",
            "pip install timm; where torchvision fails, install both torch and torchvision from the same index.",
        ) from error
    try:
        fixed = timm.get_pretrained_cfg(name, allow_unregistered=True)
        options = {"img_size": size} if getattr(fixed, "fixed_input_size", False) else {}
        body = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **options)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        close = ", ".join(timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:5])
        raise RecipeError(
            f"timm could not build {name!r}: {error}.", f"a name that timm knows{f', such as {close}' if close else ''}"
        ) from error
    return TimmModel(body, num_classes, channels=channels, size=size, dropout=dropout, hidden=hidden)

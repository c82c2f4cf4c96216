"""Augmentations: each draws all that is random first, then applies it to a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor

from lightmeter.augment.base import Augmentation, BatchContext, Drawn, Singly
from lightmeter.augment.chunks import in_chunks
from lightmeter.augment.colour import Colour
from lightmeter.augment.counter import generator_of
from lightmeter.augment.crop import RandomResizedCrop
from lightmeter.augment.erase import Erase
from lightmeter.augment.mix import Cutmix, Mixup
from lightmeter.augment.moves import AlternatingFlip, Flip, Shift
from lightmeter.augment.sharpness import Sharpness
from lightmeter.augment.singly import Picture, one_by_one
from lightmeter.nouns.parts import check_options, resolve
from lightmeter.nouns.recipe import AugmentChoice

__all__ = ["AUGMENTATIONS", "MIXING", "Augment", "Augmentation", "BatchContext", "compose"]

AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "alternating_flip": AlternatingFlip,
    "colour": Colour,
    "cutmix": Cutmix,
    "erase": Erase,
    "flip": Flip,
    "mixup": Mixup,
    "random_resized_crop": RandomResizedCrop,
    "sharpness": Sharpness,
    "shift": Shift,
}
"""Builders: (**options) -> Augmentation."""

MIXING = ("cutmix", "mixup")
"""Those that mix pictures of a batch, and their labels with them."""

_IN_CHUNKS = (Erase, Sharpness, Shift)
"""Those that change each picture by itself, too, but many at once."""


@dataclass(frozen=True, slots=True)
class Augment:
    """Augmentations one after another, each with a generator of its own that seed, epoch, step and place decide."""

    parts: tuple[Augmentation, ...]

    @property
    def singly(self) -> bool:
        """Whether pictures are first read one by one, so that they may be passed as a list of arrays."""
        return bool(self.parts) and isinstance(self.parts[0], Singly)

    def __call__(
        self, pixels: Tensor | Sequence[Picture], targets: Tensor, context: BatchContext, seed: int
    ) -> tuple[Tensor, Tensor]:
        """uint8 or float32 [N, S, S, C] in 0..255 and targets float32[N, K] -> the same, changed.

        Draws on the CPU, so that every device sees the same draws, and leaves its arguments as they are. Where it is
        `singly`, pixels may be N arrays [S, S, C] instead, which spares the copy that makes them one.
        """
        context = replace(context, seed=seed)
        shape = pixels.shape if isinstance(pixels, Tensor) else torch.Size((len(pixels), *pixels[0].shape))
        device = pixels.device if isinstance(pixels, Tensor) else torch.device("cpu")
        ready = []
        for place, part in enumerate(self.parts):
            drawn = part.draw(shape, context, generator_of(seed, context.epoch, context.step, place))
            ready.append((part, {name: value.to(device) for name, value in drawn.items()}))
        for way, group in groupby(ready, lambda entry: _way(entry[0], device.type)):
            if way == "singly":
                changes = [part.change(shape, drawn) for part, drawn in group if isinstance(part, Singly)]
                pixels = one_by_one(pixels.numpy() if isinstance(pixels, Tensor) else pixels, changes)
                continue
            assert isinstance(pixels, Tensor), "a list of pictures is for those that read them one by one"
            if way == "in chunks":
                pixels = in_chunks(pixels, [(partial(_pixels, part, targets[:0]), drawn) for part, drawn in group])
            else:
                for part, drawn in group:
                    pixels, targets = part.apply(pixels, targets, drawn)
        assert isinstance(pixels, Tensor)
        return pixels, targets


def _way(part: Augmentation, device: str) -> Literal["singly", "in chunks", "at once"]:
    if device != "cpu":
        return "at once"
    return "singly" if isinstance(part, Singly) else "in chunks" if isinstance(part, _IN_CHUNKS) else "at once"


def _pixels(part: Augmentation, targets: Tensor, pixels: Tensor, drawn: Drawn) -> Tensor:
    return part.apply(pixels, targets, drawn)[0]


def compose(choices: Sequence[AugmentChoice]) -> Augment:
    """The recipe's augmentations in their order. Raises RecipeError for a name or option that there is not."""
    built = []
    for choice in choices:
        builder = resolve(AUGMENTATIONS, choice.name, kind="augmentation")
        check_options(builder, choice.options, kind="augmentation", name=choice.name)
        built.append(builder(**choice.options))
    return Augment(tuple(built))

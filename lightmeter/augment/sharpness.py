"""Sharpness: pictures as another resizer would have made them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn, each, is_number, like, require, require_share


@dataclass(frozen=True, slots=True)
class Sharpness:
    """Sharpen some pictures, or blur them, by an amount drawn for each.

    Args:
        share: of the pictures that are changed.
        least, most: the amount a is drawn evenly between them; the finest detail is multiplied by 1 + a. -1 blurs it
            away, 0 leaves the picture as it is.

    Programs shrink pictures with very different filters: some blur the finest detail, some leave it with more than
    there was (aliasing). A network that has only seen one kind loses much on the other.

    The picture is compared with its blurred copy (weights 1, 2, 1 over four along both sides, the border repeated),
    and a times their difference is added to it: an unsharp mask.
    """

    share: float = 0.75
    least: float = 0.0
    most: float = 2.0

    def __post_init__(self) -> None:
        require_share("sharpness", "share", self.share)
        for name, value in (("least", self.least), ("most", self.most)):
            require(
                is_number(value) and -1 <= value <= 10, f"sharpness was given {name}={value!r}", "a number -1 to 10"
            )
        require(self.least <= self.most, f"sharpness was given least={self.least} above most={self.most}", "in order")

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """amount: float32[N], 0 for those that stay as they are."""
        amount, chance = torch.rand(2, shape[0], generator=generator)
        amount = self.least + (self.most - self.least) * amount
        return {"amount": torch.where(chance < self.share, amount, torch.zeros_like(amount))}

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)  # [N, C, S, S]
        wide = F.pad(planes, (1, 1, 1, 1), mode="replicate")
        rows = (wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]) / 4
        blurred = (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
        changed = planes + each(drawn["amount"]) * (planes - blurred)
        return like(changed, pixels).permute(0, 2, 3, 1).contiguous(), targets

"""Rectangles painted over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn, inside, is_number, like, require, require_share


@dataclass(frozen=True, slots=True)
class Erase:
    """Paint a random rectangle of some pictures over.

    Args:
        probability: of each picture.
        min_area: smallest share of the picture's area.
        max_area: largest; shares between are as likely. A rectangle that would not fit is cut to the picture's side.
        max_ratio: widest shape, width over height; 1 / max_ratio is the narrowest.
        fill: "noise" (a random value for each pixel and channel), "mean" (the picture's own, per channel) or "zero".

    Source: Zhong et al., "Random erasing data augmentation", 2017. The pictures of a batch look at one sheet of
    noise, drawn anew for each batch, which costs a hundredth of a sheet for each.
    """

    probability: float = 0.5
    min_area: float = 0.02
    max_area: float = 0.33
    max_ratio: float = 3.3
    fill: Literal["noise", "mean", "zero"] = "noise"

    def __post_init__(self) -> None:
        require_share("erase", "probability", self.probability)
        require_share("erase", "min_area", self.min_area)
        require_share("erase", "max_area", self.max_area, above=self.min_area)
        wide = is_number(self.max_ratio) and 1 <= self.max_ratio <= 100
        require(wide, f"erase was given max_ratio={self.max_ratio!r}", "a number 1 to 100")
        known = ("noise", "mean", "zero")
        require(self.fill in known, f"erase was given fill={self.fill!r}", "one of " + ", ".join(known))

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """box: int64[N, 4], empty where nothing is erased; noise: uint8[1, S, S, C]."""
        n, height, width, _ = shape
        chosen, area, ratio, down, right = torch.rand(5, n, generator=generator)
        area = self.min_area + (self.max_area - self.min_area) * area
        ratio = torch.exp((2 * ratio - 1) * math.log(self.max_ratio))
        # Shares of the sides, as in the crop, so that a picture need not be square.
        tall = ((area / ratio).sqrt().clamp(max=1) * height).round().long()
        wide = ((area * ratio).sqrt().clamp(max=1) * width).round().long()
        erased = chosen < self.probability
        tall, wide = tall * erased, wide * erased
        top, left = (down * (height - tall + 1)).long(), (right * (width - wide + 1)).long()
        noise = torch.zeros((1, *shape[1:]), dtype=torch.uint8)
        if self.fill == "noise":
            noise = torch.randint(0, 256, (1, *shape[1:]), generator=generator, dtype=torch.uint8)
        return {"box": torch.stack([top, left, top + tall, left + wide], dim=1), "noise": noise}

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        paint = drawn["noise"].to(pixels.dtype)
        if self.fill == "mean":
            paint = like(pixels.float().mean(dim=(1, 2), keepdim=True), pixels)
        return torch.where(inside(drawn["box"], pixels.shape[1], pixels.shape[2]), paint, pixels), targets

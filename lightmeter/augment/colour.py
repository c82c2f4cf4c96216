"""Brightness, contrast and saturation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn, like, require_share

_LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as Pillow's grey


@dataclass(frozen=True, slots=True)
class Colour:
    """Multiply brightness, contrast about the picture's mean grey, and saturation about each pixel's grey.

    Args:
        brightness, contrast, saturation: each factor is drawn from 1 - value to 1 + value; 0 leaves it alone.

    The three are applied in this order; values are bounded to 0..255 once, at the end. A grey picture has no
    saturation to change.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2

    def __post_init__(self) -> None:
        require_share("colour", "brightness", self.brightness)
        require_share("colour", "contrast", self.contrast)
        require_share("colour", "saturation", self.saturation)

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """brightness, contrast, saturation: factors float32[N]."""
        spread = torch.tensor([[self.brightness], [self.contrast], [self.saturation]])
        factors = 1 + spread * (2 * torch.rand(3, shape[0], generator=generator) - 1)
        return dict(zip(("brightness", "contrast", "saturation"), factors, strict=True))

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        n, height, width, channels = pixels.shape
        # As planes: a matrix product with rows of three values is several times slower.
        planes = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32).view(n, channels, height * width)
        brightness, contrast, saturation = (drawn[name] for name in ("brightness", "contrast", "saturation"))
        luma = planes.new_tensor(_LUMA if channels == 3 else (1.0,))
        grey = luma.expand(channels, channels)  # turns a pixel into its grey, in every channel
        kept = torch.eye(channels, device=pixels.device)
        # All three are linear in the picture, so they are one matrix per picture and one offset, which is grey.
        scale = (brightness * contrast).view(n, 1, 1)
        matrix = scale * torch.lerp(grey, kept, saturation.view(n, 1, 1))
        mean = planes.mean(dim=2) @ luma
        offset = (brightness * (1 - contrast) * mean).view(n, 1, 1)
        changed = like(torch.baddbmm(offset, matrix, planes), pixels).view(n, channels, height, width)
        result = torch.empty_like(pixels)
        for channel in range(channels):  # twice as fast as asking for the other order of axes at once
            result[..., channel] = changed[:, channel]
        return result, targets

"""Brightness, contrast and saturation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn, like, require_share
from lightmeter.augment.singly import Change, Picture, one_by_one

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
        if pixels.device.type != "cpu":
            return at_once(pixels, *_linear(pixels.shape[3], drawn)), targets
        return one_by_one(pixels.numpy(), [self.change(pixels.shape, drawn)]), targets

    def change(self, shape: torch.Size, drawn: Drawn) -> Change:
        """See `Singly`."""
        matrix, shift, luma = _linear(shape[3], drawn)
        matrices = torch.cat([matrix, torch.zeros(shape[0], shape[3], 1)], dim=2).numpy()
        shifts, weights = shift.tolist(), luma.tolist()

        def colour(place: int, picture: Picture, room: Picture) -> Picture:
            own, means = matrices[place], cv2.mean(picture)  # always four
            own[:, -1] = shifts[place] * sum(weight * mean for weight, mean in zip(weights, means, strict=False))
            cv2.transform(picture, own, dst=room)
            return np.clip(room, 0, 255, out=room) if room.dtype.kind == "f" else room

        return colour


def _linear(channels: int, drawn: Drawn) -> tuple[Tensor, Tensor, Tensor]:
    """All three are linear in the picture: a matrix float32[N, C, C] and a shift float32[N] times its mean grey.

    The last are the channels' shares of grey, float32[C].
    """
    brightness, contrast, saturation = (drawn[name] for name in ("brightness", "contrast", "saturation"))
    luma = brightness.new_tensor(_LUMA if channels == 3 else (1.0,))
    grey = luma.expand(channels, channels)  # turns a pixel into its grey, in every channel
    kept = torch.eye(channels, device=brightness.device)
    matrix = (brightness * contrast).view(-1, 1, 1) * torch.lerp(grey, kept, saturation.view(-1, 1, 1))
    return matrix, brightness * (1 - contrast), luma


def at_once(pixels: Tensor, matrix: Tensor, shift: Tensor, luma: Tensor) -> Tensor:
    """Matrices float32[N, C, C] and shifts float32[N] for the whole batch, as a GPU wants it.

    OpenCV, one by one, agrees to a grey level, and is several times faster on a processor.
    """
    n, height, width, channels = pixels.shape
    # As planes: a matrix product with rows of three values is several times slower.
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32).reshape(n, channels, height * width)
    offset = (shift * (planes.mean(dim=2) @ luma)).view(n, 1, 1)
    changed = like(torch.baddbmm(offset, matrix, planes), pixels)
    return changed.view(n, channels, height, width).permute(0, 2, 3, 1).contiguous()

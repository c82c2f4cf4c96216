"""Whole batches of smaller pictures, for progressive resizing."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lightmeter.augment.base import like


def shrunk(pixels: Tensor, scale: float) -> Tensor:
    """uint8 or float32 [N, S, S, C] -> the same kind [N, s, s, C] with s = round(scale * S), antialiased."""
    side = shrunk_side(pixels.shape[1], scale)
    planes = pixels.permute(0, 3, 1, 2)
    native = pixels.device.type == "cpu" or pixels.is_floating_point()  # a GPU has no such kernel for bytes
    small = F.interpolate(planes if native else planes.float(), (side, side), mode="bilinear", antialias=True)
    return (small if native else like(small, pixels)).permute(0, 2, 3, 1).contiguous()


def shrunk_side(side: int, scale: float) -> int:
    """The side of what `shrunk` makes of it, in pixels."""
    return max(1, round(scale * side))

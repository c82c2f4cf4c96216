"""Test-time views: a model's logits averaged over mirrored and shifted copies of each picture, inside the graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lightmeter.models.base import Model


class MultiView(nn.Module):
    """`model` with its logits averaged over test-time views, so that an exported graph gives what was evaluated.

    2 views: the picture and its mirror image. 6 views: both of these plain (weight 1/2) and moved by one pixel to the
    upper left and the lower right (1/4 each), the border reflected.

    Source: the multi-view evaluation of the airbench scripts (K. Jordan, 2024).
    """

    def __init__(self, model: Model, views: Literal[1, 2, 6]) -> None:
        super().__init__()
        self.model, self.views = model, views

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 or float [N, S, S, C] -> logits float32[N, K]."""
        if self.views == 1:
            logits: Tensor = self.model(pixels)
            return logits
        plain = self._mirrored(pixels)
        if self.views == 2:
            return plain
        padded = torch.cat([pixels[:, 1:2], pixels, pixels[:, -2:-1]], dim=1)
        padded = torch.cat([padded[:, :, 1:2], padded, padded[:, :, -2:-1]], dim=2)
        size = pixels.shape[1]
        shifted = self._mirrored(padded[:, :size, :size]) + self._mirrored(padded[:, 2:, 2:])
        return 0.5 * plain + 0.25 * shifted

    def _mirrored(self, pixels: Tensor) -> Tensor:
        logits: Tensor = 0.5 * (self.model(pixels) + self.model(pixels.flip(2)))
        return logits

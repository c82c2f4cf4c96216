"""Test-time views: a model's logits averaged over mirrored and shifted copies of each picture, inside the graph."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lightmeter.models.base import Model

_WEIGHTS = {2: (0.5, 0.5), 6: (0.25, 0.125, 0.125, 0.25, 0.125, 0.125)}
"""Of each view, in the order in which they are stacked."""


class MultiView(nn.Module):
    """`model` with its logits averaged over test-time views, so that an exported graph gives what was evaluated.

    2 views: the picture and its mirror image. 6 views: both of these plain (weight 1/2) and moved by one pixel to the
    upper left and the lower right (1/4 each), the border reflected. All views pass through the model as one batch: its
    graph then holds the model once, and is exported and loaded in a fraction of the time.

    Source: the multi-view evaluation of the airbench scripts (K. Jordan, 2024).
    """

    def __init__(self, model: Model, views: Literal[1, 2, 6]) -> None:
        super().__init__()
        self.model, self.views = model, views

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 or float [N, S, S, C] -> logits float32[N, K]."""
        return self.mean(self.model(self.stacked(pixels)))

    def stacked(self, pixels: Tensor) -> Tensor:
        """[N, S, S, C] -> [V * N, S, S, C]: the pictures as they are, then each further view of all of them."""
        if self.views == 1:
            return pixels
        if self.views == 6:
            padded = torch.cat([pixels[:, 1:2], pixels, pixels[:, -2:-1]], dim=1)
            padded = torch.cat([padded[:, :, 1:2], padded, padded[:, :, -2:-1]], dim=2)
            size = pixels.shape[1]
            pixels = torch.cat([pixels, padded[:, :size, :size], padded[:, 2:, 2:]])
        return torch.cat([pixels, pixels.flip(2)])

    def mean(self, logits: Tensor) -> Tensor:
        """Logits [V * N, K] of what `stacked` gave -> [N, K]."""
        if self.views == 1:
            return logits
        weights = logits.new_tensor(_WEIGHTS[self.views]).view(-1, 1, 1)
        total: Tensor = (weights * logits.unflatten(0, (self.views, -1))).sum(dim=0)
        return total

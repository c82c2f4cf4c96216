"""Move each picture by whole pixels, its border reflected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn


@dataclass(frozen=True, slots=True)
class Shift:
    """Move each picture by -pixels..pixels in both directions; what comes in at the border is its reflection."""

    pixels: int = 2

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """offset: int64[N, 2], down and right, each 0..2 * pixels."""
        return {"offset": torch.randint(0, 2 * self.pixels + 1, (shape[0], 2), generator=generator)}

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        n, size = pixels.shape[0], pixels.shape[1]
        offset = drawn["offset"].to(pixels.device)
        steps = torch.arange(size, device=pixels.device) - self.pixels
        rows = _reflect(offset[:, :1] + steps, size)  # int64[N, S]
        columns = _reflect(offset[:, 1:] + steps, size)
        flat = pixels.reshape(n * size * size, -1)
        first = torch.arange(n, device=pixels.device).view(n, 1, 1) * size * size
        index = first + rows.unsqueeze(2) * size + columns.unsqueeze(1)
        return flat.index_select(0, index.flatten()).view(pixels.shape), targets


def _reflect(index: Tensor, size: int) -> Tensor:
    """Indices outside 0..size-1 mirrored about the border pixel."""
    return (size - 1) - ((size - 1) - index.abs()).abs()

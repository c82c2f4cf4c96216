"""What an augmentation is: it draws all that is random first, then applies what was drawn, which is pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Drawn = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What a draw may depend on besides its generator.

    Attributes:
        rows: int64[N], the pack rows of the batch, which name its pictures.
        epoch, step: from 0.
        num_classes: K.
        seed: of the recipe.
    """

    rows: Tensor
    epoch: int
    step: int
    num_classes: int
    seed: int = 0


class Augmentation(Protocol):
    """A frozen value with its options."""

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """Everything random for a batch of pixels [N, S, S, C], on the CPU."""
        ...

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """uint8 or float32 [N, S, S, C] in 0..255 and targets float32[N, K] -> the same, changed."""
        ...

"""What an augmentation is: it draws all that is random first, then applies what was drawn, which is pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lightmeter.augment.singly import Change
from lightmeter.errors import RecipeError

Drawn = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What a draw may depend on besides its generator.

    Attributes:
        rows: int64[N], the pack rows of the batch, which name its pictures.
        epoch, step: from 0.
        num_classes: K.
        seed: of the recipe; `Augment` sets it.
    """

    rows: Tensor
    epoch: int
    step: int
    num_classes: int
    seed: int = 0


class Augmentation(Protocol):
    """A frozen value with its options; a wrong one raises RecipeError when it is built."""

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """Everything random for a batch of pixels [N, S, S, C], on the CPU, from `generator` and `context` alone."""
        ...

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """uint8 or float32 [N, S, S, C] in 0..255 and targets float32[N, K] -> the same kinds, changed copies.

        `drawn` lies on the device of `pixels`.
        """
        ...


@runtime_checkable
class Singly(Augmentation, Protocol):
    """One that on a processor changes each picture by itself, whatever its neighbours, and leaves its target alone."""

    def change(self, shape: torch.Size, drawn: Drawn) -> Change:
        """What `drawn` does to each picture of pixels [N, S, S, C]."""
        ...


def require(holds: bool, received: str, expected: str) -> None:
    """Raise RecipeError where an option does not hold."""
    if not holds:
        raise RecipeError(f"{received}.", expected)


def is_number(value: object) -> bool:
    """Whether an option's value, which comes from JSON, is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def require_share(augmentation: str, option: str, value: float, *, above: float = 0.0) -> None:
    """Raise RecipeError unless `above` <= value <= 1."""
    holds = is_number(value) and above <= value <= 1
    require(holds, f"{augmentation} was given {option}={value!r}", f"a number {above:g} to 1")


def like(result: Tensor, pixels: Tensor) -> Tensor:
    """Bring computed float values, in place, into 0..255 and to the type of `pixels`, for uint8 to the nearest."""
    result.clamp_(0, 255)
    if pixels.is_floating_point():
        return result
    return result.round_().to(torch.int16).to(pixels.dtype)  # in two steps, each of which has a fast kernel


def each(value: Tensor) -> Tensor:
    """One number per picture, [N], shaped to meet pixels [N, S, S, C]."""
    return value.view(-1, 1, 1, 1)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes int64[N, 4] (top, left, bottom, right; the last two beyond the edge) to masks bool[N, H, W, 1]."""
    rows, columns = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    top, left, bottom, right = boxes.unsqueeze(2).unbind(1)
    vertical, horizontal = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (vertical.unsqueeze(2) & horizontal.unsqueeze(1)).unsqueeze(3)

"""Two pictures, and their targets, made into one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lightmeter.augment.base import BatchContext, Drawn, each, inside, is_number, like, require, require_share


@dataclass(frozen=True, slots=True)
class Mixup:
    """Blend each picture with another of its batch: share * own + (1 - share) * other, targets likewise.

    Args:
        alpha: the share is drawn from Beta(alpha, alpha) for each picture; small values leave most nearly alone.
        probability: of a picture being blended at all.

    Source: Zhang et al., "mixup", 2017. Pictures of whole numbers stay so: the blend is rounded.
    """

    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check_options("mixup", self.alpha, self.probability)

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """other: int64[N], a permutation; share: float32[N]."""
        return _partners(shape[0], self.alpha, self.probability, generator)

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        other, share = drawn["other"], drawn["share"]
        values = torch.lerp(pixels[other].float(), pixels.float(), each(share))
        return like(values, pixels), _blend(targets, other, share)


@dataclass(frozen=True, slots=True)
class Cutmix:
    """Put a rectangle of another picture of the batch into each one; targets mix by area.

    Args:
        alpha: the share of its own that a picture is to keep is drawn from Beta(alpha, alpha).
        probability: of a picture being changed at all.

    Source: Yun et al., "CutMix", 2019. A rectangle has the picture's shape and a centre anywhere in it; what reaches
    beyond the edge is cut off, and the share is that of the pixels that really stayed.
    """

    alpha: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check_options("cutmix", self.alpha, self.probability)

    def draw(self, shape: torch.Size, context: BatchContext, generator: torch.Generator) -> Drawn:
        """other: int64[N], a permutation; box: int64[N, 4]; share: float32[N]."""
        n, height, width, _ = shape
        drawn = _partners(n, self.alpha, self.probability, generator)
        side = (1 - drawn["share"]).sqrt()
        down, right = torch.rand(2, n, generator=generator)
        tall, wide = (side * height).round().long(), (side * width).round().long()
        top, left = (down * height).long() - tall // 2, (right * width).long() - wide // 2
        bottom, beyond = (top + tall).clamp(max=height), (left + wide).clamp(max=width)
        top, left = top.clamp(min=0), left.clamp(min=0)
        kept = 1 - (bottom - top) * (beyond - left) / (height * width)
        return {"other": drawn["other"], "box": torch.stack([top, left, bottom, beyond], dim=1), "share": kept}

    def apply(self, pixels: Tensor, targets: Tensor, drawn: Drawn) -> tuple[Tensor, Tensor]:
        """See `Augmentation`."""
        other = drawn["other"]
        mask = inside(drawn["box"], pixels.shape[1], pixels.shape[2])
        return torch.where(mask, pixels[other], pixels), _blend(targets, other, drawn["share"])


def _check_options(name: str, alpha: float, probability: float) -> None:
    require(is_number(alpha) and 0.01 <= alpha <= 100, f"{name} was given alpha={alpha!r}", "a number 0.01 to 100")
    require_share(name, "probability", probability)


def _partners(n: int, alpha: float, probability: float, generator: torch.Generator) -> Drawn:
    """A permutation of the batch and each picture's own share, 1 for those left alone."""
    from scipy.special import betaincinv  # late: its memory is not needed where nothing is mixed

    chosen, level = torch.rand(2, n, generator=generator, dtype=torch.float64)
    # torch's Beta takes no generator; the inverse of its distribution function needs only even draws.
    share = torch.from_numpy(betaincinv(alpha, alpha, level.numpy()))
    share = torch.where(chosen < probability, share, torch.ones_like(share)).to(torch.float32)
    return {"other": torch.randperm(n, generator=generator), "share": share}


def _blend(targets: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(targets[other], targets, share.unsqueeze(1))

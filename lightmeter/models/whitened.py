"""A small fast network in the manner of the CIFAR-10 speed records: frozen patch whitening, then few wide layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightmeter.models.base import Model, Normalise

_WIDTHS = (64, 256, 256)  # filters per stage at width 1
_WHITENED_AT_MOST = 32  # leading directions kept where a patch has more
_EPSILON = 5e-4  # added to the variance along each direction, so that noise is not blown up


class _Stage(nn.Module):
    """conv, pool, norm, GELU, conv, norm, GELU. Pools only where the map is at least 2 pixels wide."""

    def __init__(self, inputs: int, outputs: int, pool: bool) -> None:
        super().__init__()
        self.pool = pool
        self.conv1 = _dirac(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
        self.norm1 = _norm(outputs)
        self.conv2 = _dirac(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False))
        self.norm2 = _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if self.pool:  # before the normalisation: a quarter of its work
            x = F.max_pool2d(x, 2)
        x = F.gelu(self.norm1(x))
        return F.gelu(self.norm2(self.conv2(x)))


class Whitened(Model):
    """Patch whitening, three stages, a global maximum and a linear head without bias.

    `width` multiplies the filters of every stage. Canvases above 60 pixels get larger, strided whitening patches, so
    that the stages never see a map of more than 60 pixels.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, and the airbench94_muon script. Ours
    takes any canvas size and one or three channels, learns the pixel mean and deviation from the data, and keeps the
    bias of the whitening layer trainable throughout.
    """

    minimum_size = 8

    def __init__(self, num_classes: int, *, channels: int, size: int, width: float = 1.0) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        stride = max(1, round(size / 40))
        kernel = stride * (2 if channels == 3 else 3)  # one grey channel has too few directions in a 2x2 patch
        directions = min(channels * kernel**2, _WHITENED_AT_MOST)
        self.normalise = Normalise(mean=(0.5,) * channels, std=(0.25,) * channels)
        self.whiten = nn.Conv2d(channels, 2 * directions, kernel, stride=stride)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]
        stages, inputs, side = [], 2 * directions, (size - kernel) // stride + 1
        for base in _WIDTHS:
            outputs = max(16, round(base * width / 16) * 16)
            stages.append(_Stage(inputs, outputs, pool=side >= 2))
            inputs, side = outputs, max(1, side // 2)
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, num_classes, bias=False)
        with torch.no_grad():
            self.head.weight.div_(self.head.weight.std())

    def features(self, pixels: Tensor) -> Tensor:
        """uint8 or float [N, S, S, C] -> float [N, F], divided by F so that the head's logits start small."""
        x = F.gelu(self.whiten(self.normalise(pixels)))
        x = self.stages(x).amax(dim=(2, 3))
        features: Tensor = x / x.shape[1]
        return features

    def blocks(self) -> dict[str, nn.Module]:
        """whiten, stage1, stage2, stage3, head."""
        stages = {f"stage{number}": stage for number, stage in enumerate(self.stages, start=1)}
        return {"whiten": self.whiten, **stages, "head": self.head}

    @torch.no_grad()
    def prepare(self, pixels: Tensor) -> None:
        """Set the pixel mean and deviation and the whitening filters from training images uint8[N, S, S, C]."""
        sample = pixels.float() / 255
        mean = sample.mean(dim=(0, 1, 2))
        std = sample.std(dim=(0, 1, 2)).clamp(min=1 / 255)  # a data set of one flat colour stays finite
        self.normalise.mean.copy_(255 * mean.view(1, -1, 1, 1))
        self.normalise.std.copy_(255 * std.view(1, -1, 1, 1))
        kernel, stride = self.whiten.kernel_size[0], self.whiten.stride[0]
        products = torch.zeros(self.channels * kernel**2, self.channels * kernel**2, dtype=torch.float64)
        count = 0
        for some in pixels[:2000].split(50):  # patches of all of them at once would not fit into memory
            patches = F.unfold(self.normalise(some), kernel, stride=stride)  # [N, C*k*k, L]
            patches = patches.transpose(1, 2).flatten(0, 1)
            products += (patches.T @ patches).double()
            count += len(patches)
        variance, directions = torch.linalg.eigh(products / count)
        kept = self.whiten.out_channels // 2
        filters = (directions / (variance + _EPSILON).sqrt()).T.flip(0)[:kept]
        filters = filters.view(kept, self.channels, kernel, kernel).to(self.whiten.weight.dtype)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))  # both signs: the activation keeps one side of each


def whitened(num_classes: int, *, channels: int, size: int, width: float = 1.0) -> Whitened:
    """Build a Whitened network."""
    return Whitened(num_classes, channels=channels, size=size, width=width)


def _norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm with a fast running average and no scale: the next layer's norm makes the scale meaningless."""
    norm = nn.BatchNorm2d(channels, momentum=0.4, eps=1e-5)
    norm.weight.requires_grad_(False)
    return norm


def _dirac(conv: nn.Conv2d) -> nn.Conv2d:
    """Let the first filters hand their input on unchanged, so that a deep stack starts as a shallow one."""
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: conv.in_channels])
    return conv

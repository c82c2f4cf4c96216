"""MobileNetV2 with torchvision's parameter names: inverted residuals around depthwise filters."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lightmeter.errors import RecipeError
from lightmeter.models.base import Model, Normalise, mlp_head
from lightmeter.models.convolve import ConvNorm

Borders = Literal["torchvision", "keras"]

# Expansion of the narrow map, filters at width 1, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _make_divisible(value: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, but not more than 10 % below `value`."""
    nearest = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * value else nearest


class _KerasBorders(nn.Conv2d):
    """A filter with stride 2 that pads a map of even sides at its right and lower border only, as Keras does."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        height, width = input.shape[2:]
        padded = F.pad(input, (width % 2, 1, height % 2, 1))  # of 3x3 filters; a side of odd length on both ends
        return F.conv2d(padded, weight, bias, self.stride, 0, self.dilation, self.groups)


def _conv_norm(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, borders: Borders = "torchvision"
) -> ConvNorm:
    filters = _KerasBorders if borders == "keras" and stride == 2 else nn.Conv2d
    return ConvNorm(
        filters(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class _InvertedResidual(nn.Module):
    """1x1 to a wider map, depthwise 3x3, 1x1 back to a narrow one, added to the input where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int, borders: Borders) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [_conv_norm(inputs, hidden, 1)] if expansion != 1 else []
        self.conv = ConvNorm(
            *widen,
            _conv_norm(hidden, hidden, 3, stride=stride, groups=hidden, borders=borders),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class _GlobalMean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class MobileNetV2(Model):
    """A stem, 17 inverted residuals, a 1x1 filter, a global mean, dropout and a linear head.

    Args:
        width: multiplies the filters, rounded to 8; the last 1x1 filter never has fewer than 1280.
        dropout: in the head, in training.
        hidden: width of a hidden layer in the head; 0 is none.
        borders: which borders of a map the filters with stride 2 pad: "torchvision" all four, "keras" those that
            Keras' weights were trained with.

    Source: Sandler et al., 2018, as torchvision builds it. `features` is a submodule because its published
    parameters are called so; it begins with the normalisation and ends with the mean.
    """

    minimum_size = 32
    head_name = "classifier"

    features: nn.Sequential

    def __init__(
        self,
        num_classes: int,
        *,
        channels: int,
        size: int,
        width: float = 1.0,
        dropout: float = 0.2,
        hidden: int = 0,
        borders: Borders = "torchvision",
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        if borders not in ("torchvision", "keras"):
            raise RecipeError(f"MobileNetV2 has no borders {borders!r}.", '"torchvision" or "keras"')
        inputs, last = _make_divisible(32 * width), _make_divisible(1280 * max(1.0, width))
        layers: list[nn.Module] = [_conv_norm(channels, inputs, 3, stride=2, borders=borders)]
        for expansion, base, depth, stride in _STAGES:
            outputs = _make_divisible(base * width)
            for position in range(depth):
                first = stride if position == 0 else 1
                layers.append(_InvertedResidual(inputs, outputs, stride=first, expansion=expansion, borders=borders))
                inputs = outputs
        layers.append(_conv_norm(inputs, last, 1))
        numbered = [(str(number), layer) for number, layer in enumerate(layers)]
        self.features = nn.Sequential(
            OrderedDict([("normalise", Normalise.imagenet(channels)), *numbered, ("mean", _GlobalMean())])
        )
        self.classifier = mlp_head(last, num_classes, hidden=hidden, dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def maps(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F, H, W], the last map."""
        last: Tensor = self.features[:-1](pixels)
        return last

    @property
    def head(self) -> nn.Sequential:  # type: ignore[override]
        """Dropout and the last layer, published as "classifier.1"."""
        return self.classifier

    def blocks(self) -> dict[str, nn.Module]:
        """stem, block1 to block17, top, head."""
        numbered = {name: layer for name, layer in self.features.named_children() if name.isdigit()}
        names = ["stem", *(f"block{number}" for number in range(1, len(numbered) - 1)), "top"]
        return {**dict(zip(names, numbered.values(), strict=True)), "head": self.classifier}


def mobilenet_v2(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    dropout: float = 0.2,
    hidden: int = 0,
    borders: Borders = "torchvision",
) -> MobileNetV2:
    """Build a MobileNetV2; see there for the options."""
    return MobileNetV2(
        num_classes, channels=channels, size=size, width=width, dropout=dropout, hidden=hidden, borders=borders
    )

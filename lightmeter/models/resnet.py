"""ResNet-18, -34 and -50 with torchvision's parameter names, and a stem for small pictures."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lightmeter.errors import RecipeError
from lightmeter.models.base import Model, Normalise
from lightmeter.models.convolve import ConvNorm, convolve

_STAGE_WIDTHS = (64, 128, 256, 512)
_SMALL_AT_MOST = 64  # side up to which "by_size" keeps the resolution: ImageNet's stem hands on a quarter of it

Stem = Literal["by_size", "small", "imagenet"]
Stride = Literal["3x3", "1x1"]


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 filter where the branch beside it changes the shape."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return ConvNorm(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class _Basic(nn.Module):
    """Two 3x3 filters, of 18 and 34 layers."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, planes, 3, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inputs, planes, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(convolve(self.conv1, self.bn1, x), inplace=True)
        out = convolve(self.conv2, self.bn2, out)
        return F.relu(out + self.downsample(x), inplace=True)


class _Bottleneck(nn.Module):
    """1x1 to fewer planes, 3x3 with the stride, 1x1 to four times as many, of 50 layers."""

    expansion = 4
    strided: Stride = "3x3"

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * planes
        first, second = (stride, 1) if self.strided == "1x1" else (1, stride)
        self.conv1, self.bn1 = _conv(inputs, planes, 1, first), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv(planes, planes, 3, second), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = _conv(planes, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(convolve(self.conv1, self.bn1, x), inplace=True)
        out = F.relu(convolve(self.conv2, self.bn2, out), inplace=True)
        out = convolve(self.conv3, self.bn3, out)
        return F.relu(out + self.downsample(x), inplace=True)


class _EarlyBottleneck(_Bottleneck):
    """As in the paper and in Keras: the first 1x1 has the stride, and three quarters of its input go unread."""

    strided = "1x1"


class ResNet(Model):
    """A stem, four stages that each halve the map but the first, a global mean and a linear head.

    Args:
        block: of the stages.
        depths: blocks per stage.
        width: multiplies the filters of every stage, rounded to 8.
        stem: "imagenet" is 7x7 with stride 2 and a pooling with stride 2; "small" is 3x3 and keeps the resolution;
            "by_size" is "small" up to 64 pixels and "imagenet" above.
        zero_init: start each residual branch at zero, so that a deep network starts as a shallow one.

    Source: He et al., "Deep residual learning", 2015, with the stride of a bottleneck in its 3x3 filter as in
    torchvision, whose weights load by name. Ours adds the small stem, the width and one-channel pictures.
    """

    head_name = "fc"

    def __init__(
        self,
        block: type[_Basic] | type[_Bottleneck],
        depths: tuple[int, int, int, int],
        num_classes: int,
        *,
        channels: int,
        size: int,
        width: float = 1.0,
        stem: Stem = "by_size",
        zero_init: bool = False,
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        if stem not in ("by_size", "small", "imagenet"):
            raise RecipeError(f"ResNet has no stem {stem!r}.", '"by_size", "small" or "imagenet"')
        self.small_stem = stem == "small" or (stem == "by_size" and size <= _SMALL_AT_MOST)
        planes = [max(8, round(base * width / 8) * 8) for base in _STAGE_WIDTHS]
        self.normalise = Normalise.imagenet(channels)
        self.conv1 = _conv(channels, planes[0], 3) if self.small_stem else _conv(channels, planes[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(planes[0])
        inputs = planes[0]
        for number, (count, depth) in enumerate(zip(planes, depths, strict=True), start=1):
            stage = nn.Sequential()
            for position in range(depth):
                stage.append(block(inputs, count, stride=2 if position == 0 and number > 1 else 1))
                inputs = count * block.expansion
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(inputs, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init and isinstance(module, _Basic | _Bottleneck):
                nn.init.zeros_(module.last_norm.weight)

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]
        """The last layer, published as "fc"."""
        return self.fc

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], the mean of the last map."""
        return self.maps(pixels).mean(dim=(2, 3))

    def maps(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F, H, W], the last map."""
        x = F.relu(convolve(self.conv1, self.bn1, self.normalise(pixels)), inplace=True)
        if not self.small_stem:
            x = F.max_pool2d(x, 3, stride=2, padding=1)
        for number in (1, 2, 3, 4):
            x = self.get_submodule(f"layer{number}")(x)
        return x

    def blocks(self) -> dict[str, nn.Module]:
        """stem, layer1, layer2, layer3, layer4, head."""
        stages = {f"layer{number}": self.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)}
        return {"stem": nn.ModuleList([self.conv1, self.bn1]), **stages, "head": self.fc}


def resnet18(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    stem: Stem = "by_size",
    zero_init: bool = False,
) -> ResNet:
    """18 layers; see ResNet for the options."""
    return ResNet(
        _Basic, (2, 2, 2, 2), num_classes, channels=channels, size=size, width=width, stem=stem, zero_init=zero_init
    )


def resnet34(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    stem: Stem = "by_size",
    zero_init: bool = False,
) -> ResNet:
    """34 layers; see ResNet for the options."""
    return ResNet(
        _Basic, (3, 4, 6, 3), num_classes, channels=channels, size=size, width=width, stem=stem, zero_init=zero_init
    )


def resnet50(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    stem: Stem = "by_size",
    zero_init: bool = False,
    stride: Stride = "3x3",
) -> ResNet:
    """50 layers; see ResNet for the options. `stride` is the filter of a bottleneck that halves the map."""
    if stride not in ("3x3", "1x1"):
        raise RecipeError(
            f"ResNet-50 has no stride {stride!r}.", '"3x3", as torchvision, or "1x1", as the paper and Keras'
        )
    return ResNet(
        _Bottleneck if stride == "3x3" else _EarlyBottleneck,
        (3, 4, 6, 3),
        num_classes,
        channels=channels,
        size=size,
        width=width,
        stem=stem,
        zero_init=zero_init,
    )

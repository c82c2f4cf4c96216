"""InceptionV3 with torchvision's parameter names: branches of several filter sizes side by side."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from lightmeter.models.base import Model, Normalise, mlp_head
from lightmeter.models.convolve import convolve

_HALF = (0.5, 0.5, 0.5)


class _Unscaled(nn.BatchNorm2d):
    """BatchNorm that learns a shift but no scale: three values per channel."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__(channels, eps=eps)
        del self.weight
        # Ones that are no parameter and in no file, so that whatever folds or exports BatchNorm still finds them.
        self.register_buffer("weight", torch.ones(channels), persistent=False)


class _Conv(nn.Module):
    """A filter, BatchNorm and ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], *, stride: int, padding: bool, scale: bool
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = (sides[0] // 2, sides[1] // 2) if padding else (0, 0)
        self.conv = nn.Conv2d(inputs, outputs, sides, stride=stride, padding=around, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3) if scale else _Unscaled(outputs, 1e-3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(convolve(self.conv, self.bn, x))
        return out


class _Make(Protocol):
    def __call__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: bool = True
    ) -> _Conv:
        """A filter of `inputs` and `outputs` planes."""


class _Mixed(nn.Module):
    """Branches on one map, joined along the planes. `branches` names what runs after what.

    A name in a tuple of several is a fork: its members read the same map, and their results are joined.
    """

    branches: tuple[tuple[str | tuple[str, ...], ...], ...]
    outputs: int

    def forward(self, x: Tensor) -> Tensor:
        joined: list[Tensor] = []
        for branch in self.branches:
            out = x
            for step in branch[:-1]:
                assert isinstance(step, str)
                out = self.get_submodule(step)(out)
            ends = branch[-1] if isinstance(branch[-1], tuple) else (branch[-1],)
            joined += [self.get_submodule(end)(out) for end in ends]
        return torch.cat(joined, dim=1)


class _A(_Mixed):
    """1x1, 5x5, two 3x3, and a mean, at one resolution."""

    branches = (
        ("branch1x1",),
        ("branch5x5_1", "branch5x5_2"),
        ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
        ("pool", "branch_pool"),
    )

    def __init__(self, inputs: int, pooled: int, *, conv: _Make, pool: nn.AvgPool2d, w: Callable[[int], int]) -> None:
        super().__init__()
        self.branch1x1 = conv(inputs, w(64), 1)
        self.branch5x5_1 = conv(inputs, w(48), 1)
        self.branch5x5_2 = conv(w(48), w(64), 5)
        self.branch3x3dbl_1 = conv(inputs, w(64), 1)
        self.branch3x3dbl_2 = conv(w(64), w(96), 3)
        self.branch3x3dbl_3 = conv(w(96), w(96), 3)
        self.pool = pool
        self.branch_pool = conv(inputs, w(pooled), 1)
        self.outputs = 2 * w(64) + w(96) + w(pooled)


class _B(_Mixed):
    """Halves the map: 3x3, two 3x3, and the largest values."""

    branches = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"), ("pool",))

    def __init__(self, inputs: int, *, conv: _Make, w: Callable[[int], int]) -> None:
        super().__init__()
        self.branch3x3 = conv(inputs, w(384), 3, stride=2, padding=False)
        self.branch3x3dbl_1 = conv(inputs, w(64), 1)
        self.branch3x3dbl_2 = conv(w(64), w(96), 3)
        self.branch3x3dbl_3 = conv(w(96), w(96), 3, stride=2, padding=False)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.outputs = w(384) + w(96) + inputs


class _C(_Mixed):
    """1x1, 7x7 and two 7x7 as rows and columns, and a mean, at one resolution."""

    branches = (
        ("branch1x1",),
        ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
        tuple(f"branch7x7dbl_{number}" for number in range(1, 6)),
        ("pool", "branch_pool"),
    )

    def __init__(self, inputs: int, planes: int, *, conv: _Make, pool: nn.AvgPool2d, w: Callable[[int], int]) -> None:
        super().__init__()
        self.branch1x1 = conv(inputs, w(192), 1)
        self.branch7x7_1 = conv(inputs, w(planes), 1)
        self.branch7x7_2 = conv(w(planes), w(planes), (1, 7))
        self.branch7x7_3 = conv(w(planes), w(192), (7, 1))
        self.branch7x7dbl_1 = conv(inputs, w(planes), 1)
        self.branch7x7dbl_2 = conv(w(planes), w(planes), (7, 1))
        self.branch7x7dbl_3 = conv(w(planes), w(planes), (1, 7))
        self.branch7x7dbl_4 = conv(w(planes), w(planes), (7, 1))
        self.branch7x7dbl_5 = conv(w(planes), w(192), (1, 7))
        self.pool = pool
        self.branch_pool = conv(inputs, w(192), 1)
        self.outputs = 4 * w(192)


class _D(_Mixed):
    """Halves the map: 3x3, 7x7 with 3x3, and the largest values."""

    branches = (
        ("branch3x3_1", "branch3x3_2"),
        ("branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"),
        ("pool",),
    )

    def __init__(self, inputs: int, *, conv: _Make, w: Callable[[int], int]) -> None:
        super().__init__()
        self.branch3x3_1 = conv(inputs, w(192), 1)
        self.branch3x3_2 = conv(w(192), w(320), 3, stride=2, padding=False)
        self.branch7x7x3_1 = conv(inputs, w(192), 1)
        self.branch7x7x3_2 = conv(w(192), w(192), (1, 7))
        self.branch7x7x3_3 = conv(w(192), w(192), (7, 1))
        self.branch7x7x3_4 = conv(w(192), w(192), 3, stride=2, padding=False)
        self.pool = nn.MaxPool2d(3, stride=2)
        self.outputs = w(320) + w(192) + inputs


class _E(_Mixed):
    """1x1, 3x3 and two 3x3 that end in a row beside a column, and a mean, at one resolution."""

    branches = (
        ("branch1x1",),
        ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
        ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
        ("pool", "branch_pool"),
    )

    def __init__(self, inputs: int, *, conv: _Make, pool: nn.AvgPool2d, w: Callable[[int], int]) -> None:
        super().__init__()
        self.branch1x1 = conv(inputs, w(320), 1)
        self.branch3x3_1 = conv(inputs, w(384), 1)
        self.branch3x3_2a = conv(w(384), w(384), (1, 3))
        self.branch3x3_2b = conv(w(384), w(384), (3, 1))
        self.branch3x3dbl_1 = conv(inputs, w(448), 1)
        self.branch3x3dbl_2 = conv(w(448), w(384), 3)
        self.branch3x3dbl_3a = conv(w(384), w(384), (1, 3))
        self.branch3x3dbl_3b = conv(w(384), w(384), (3, 1))
        self.pool = pool
        self.branch_pool = conv(inputs, w(192), 1)
        self.outputs = w(320) + 4 * w(384) + w(192)


class InceptionV3(Model):
    """A stem of five filters, eleven mixed blocks, a global mean, and a head. Without the auxiliary classifier.

    Args:
        width: multiplies the filters, rounded to 8.
        dropout: in the head, in training.
        hidden: width of a hidden layer in the head; 0 is none.
        scale: True is the network as torchvision builds it. False is as Keras does: BatchNorm without a learnt scale,
            and means at the border of a map that leave out what lies outside it.

    Source: Szegedy et al., "Rethinking the Inception Architecture", 2015. Its published weights, torchvision's too
    (there by `transform_input`), want pixels in -1..1, so that is how it normalises.
    """

    minimum_size = 75
    head_name = "fc"

    def __init__(
        self,
        num_classes: int,
        *,
        channels: int,
        size: int,
        width: float = 1.0,
        dropout: float = 0.0,
        hidden: int = 0,
        scale: bool = True,
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)

        def conv(
            inputs: int, outputs: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: bool = True
        ) -> _Conv:
            return _Conv(inputs, outputs, kernel, stride=stride, padding=padding, scale=scale)

        def w(planes: int) -> int:
            return max(8, round(planes * width / 8) * 8)

        mean = functools.partial(nn.AvgPool2d, 3, stride=1, padding=1, count_include_pad=scale)
        self.normalise = Normalise(_HALF[:channels], _HALF[:channels])
        self.Conv2d_1a_3x3 = conv(channels, w(32), 3, stride=2, padding=False)
        self.Conv2d_2a_3x3 = conv(w(32), w(32), 3, padding=False)
        self.Conv2d_2b_3x3 = conv(w(32), w(64), 3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = conv(w(64), w(80), 1)
        self.Conv2d_4a_3x3 = conv(w(80), w(192), 3, padding=False)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        self.Mixed_5b = _A(w(192), 32, conv=conv, pool=mean(), w=w)
        self.Mixed_5c = _A(self.Mixed_5b.outputs, 64, conv=conv, pool=mean(), w=w)
        self.Mixed_5d = _A(self.Mixed_5c.outputs, 64, conv=conv, pool=mean(), w=w)
        self.Mixed_6a = _B(self.Mixed_5d.outputs, conv=conv, w=w)
        self.Mixed_6b = _C(self.Mixed_6a.outputs, 128, conv=conv, pool=mean(), w=w)
        self.Mixed_6c = _C(self.Mixed_6b.outputs, 160, conv=conv, pool=mean(), w=w)
        self.Mixed_6d = _C(self.Mixed_6c.outputs, 160, conv=conv, pool=mean(), w=w)
        self.Mixed_6e = _C(self.Mixed_6d.outputs, 192, conv=conv, pool=mean(), w=w)
        self.Mixed_7a = _D(self.Mixed_6e.outputs, conv=conv, w=w)
        self.Mixed_7b = _E(self.Mixed_7a.outputs, conv=conv, pool=mean(), w=w)
        self.Mixed_7c = _E(self.Mixed_7b.outputs, conv=conv, pool=mean(), w=w)
        self.fc = mlp_head(self.Mixed_7c.outputs, num_classes, hidden=hidden, dropout=dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def head(self) -> nn.Sequential:  # type: ignore[override]
        """The last layer, published as "fc"."""
        return self.fc

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], the mean of the last map; F is 2048 at width 1."""
        return self.maps(pixels).mean(dim=(2, 3))

    def maps(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F, H, W], the last map."""
        x: Tensor = self.normalise(pixels)
        for name, part in self.named_children():
            if name not in ("normalise", "fc"):
                x = part(x)
        return x

    def blocks(self) -> dict[str, nn.Module]:
        """stem, Mixed_5b to Mixed_7c, head."""
        stem = [part for name, part in self.named_children() if name.startswith(("Conv2d", "maxpool"))]
        mixed = {name: part for name, part in self.named_children() if name.startswith("Mixed")}
        return {"stem": nn.ModuleList(stem), **mixed, "head": self.fc}


def inception_v3(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    dropout: float = 0.0,
    hidden: int = 0,
    scale: bool = True,
) -> InceptionV3:
    """Build an InceptionV3; see there for the options."""
    return InceptionV3(
        num_classes, channels=channels, size=size, width=width, dropout=dropout, hidden=hidden, scale=scale
    )

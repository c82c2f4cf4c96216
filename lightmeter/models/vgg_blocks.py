"""One to three VGG blocks and two dense layers, with switches for BatchNorm and dropout."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightmeter.errors import RecipeError
from lightmeter.models.base import Model, Normalise
from lightmeter.models.dropout import Dropout
from lightmeter.models.keras import check_rate, first_weights, norm1d, norm2d, scaled

_WIDTHS = (32, 64, 128)  # filters per block at width 1
_DENSE = 128


def _block(inputs: int, outputs: int, *, batchnorm: bool, dropout: float) -> nn.Sequential:
    """conv3x3, ReLU, [norm], conv3x3, ReLU, [norm], pool 2, [dropout]."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, planes in ((1, inputs), (2, outputs)):
        parts[f"conv{number}"] = nn.Conv2d(planes, outputs, 3, padding=1)
        parts[f"relu{number}"] = nn.ReLU(inplace=True)
        if batchnorm:
            parts[f"norm{number}"] = norm2d(outputs)
    parts["pool"] = nn.MaxPool2d(2)
    if dropout:
        parts["dropout"] = Dropout(dropout)
    return nn.Sequential(parts)


class VGGBlocks(Model):
    """Blocks of two 3x3 filters and a pooling, a dense layer of 128 units, and the last layer.

    Args:
        blocks: how many, 1 to 3, of 32, 64 and 128 filters.
        batchnorm: after the ReLU of each convolution and of the dense layer.
        dropout: after each pooling and after the dense layer, at the same rate; 0 leaves those layers out.
        width: multiplies the filters and the units, rounded to 8.

    The third customary switch, a penalty on the squares of the weights, is `loss.l2` of a recipe.

    Source: the blocks of Simonyan and Zisserman, 2014, as the tutorials on CIFAR-10 in Keras stack them, with their
    first weights (He, uniform). Ours normalises with ImageNet's constants where those divide by 255.
    """

    minimum_size = 8

    def __init__(
        self,
        num_classes: int,
        *,
        channels: int,
        size: int,
        width: float = 1.0,
        blocks: int = 3,
        batchnorm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        if blocks not in (1, 2, 3):
            raise RecipeError(f"vgg_blocks has no {blocks} blocks.", "1, 2 or 3")
        check_rate(dropout, name="dropout")
        self.normalise = Normalise.imagenet(channels)
        self.depth, inputs, side = int(blocks), channels, size
        for number, base in enumerate(_WIDTHS[: self.depth], start=1):
            outputs = scaled(base, width)
            self.add_module(f"block{number}", _block(inputs, outputs, batchnorm=batchnorm, dropout=dropout))
            inputs, side = outputs, side // 2
        self.flatten = nn.Flatten()
        units = scaled(_DENSE, width)
        head: OrderedDict[str, nn.Module] = OrderedDict()
        head["dense"], head["relu"] = nn.Linear(inputs * side**2, units), nn.ReLU(inplace=True)
        if batchnorm:
            head["norm"] = norm1d(units)
        if dropout:
            head["dropout"] = Dropout(dropout)
        head["last"] = nn.Linear(units, num_classes)
        self.head = nn.Sequential(head)
        first_weights(self, "he")
        nn.init.xavier_uniform_(head["last"].weight)  # type: ignore[arg-type]  # no ReLU follows it

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], the last map as a vector."""
        x = self.normalise(pixels)
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"block{number}")(x)
        flat: Tensor = self.flatten(x)
        return flat

    def blocks(self) -> dict[str, nn.Module]:
        """block1 to as many as there are, head."""
        names = [f"block{number}" for number in range(1, self.depth + 1)]
        return {**{name: self.get_submodule(name) for name in names}, "head": self.head}


def vgg_blocks(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    blocks: int = 3,
    batchnorm: bool = False,
    dropout: float = 0.0,
) -> VGGBlocks:
    """Build a VGGBlocks network; see there for the options."""
    return VGGBlocks(
        num_classes,
        channels=channels,
        size=size,
        width=width,
        blocks=blocks,
        batchnorm=batchnorm,
        dropout=dropout,
    )

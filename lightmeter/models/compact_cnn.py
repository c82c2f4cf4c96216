"""Six convolutions in three blocks with spatial dropout: a network to train on CIFAR-10 and to hand on elsewhere."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightmeter.models.base import Model, Normalise, mlp_head
from lightmeter.models.keras import check_rate, first_weights, norm2d, scaled

_WIDTHS = (32, 64, 128)  # filters per block at width 1


def _block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """conv 3x3 that keeps the map, ReLU, norm; conv 3x3 that does not pad, ReLU, norm; pool 2; dropout of planes."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(inputs, outputs, 3, padding=1),
            relu1=nn.ReLU(),
            norm1=norm2d(outputs),
            conv2=nn.Conv2d(outputs, outputs, 3),
            relu2=nn.ReLU(),
            norm2=norm2d(outputs),
            pool=nn.MaxPool2d(2),
            dropout=nn.Dropout2d(dropout),
        )
    )


class CompactCNN(Model):
    """Three blocks of 32, 64 and 128 filters, the last map as a vector, and a head.

    Args:
        width: multiplies the filters, rounded to 8.
        hidden: width of a hidden layer in the head; 0 is none.
        dropout: in the head.
        spatial_dropout: of whole planes, after each pooling. The publication does not say its rate.

    Source: a published attempt at transfer from CIFAR-10 to Tiny ImageNet in Keras, with heads of 512 and 1024 units.
    """

    minimum_size = 22  # each block takes 2 pixels and halves the rest: 22, 10, 4, 1

    def __init__(
        self,
        num_classes: int,
        *,
        channels: int,
        size: int,
        width: float = 1.0,
        hidden: int = 0,
        dropout: float = 0.0,
        spatial_dropout: float = 0.2,
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        check_rate(dropout, name="dropout")
        check_rate(spatial_dropout, name="spatial_dropout")
        self.normalise = Normalise.imagenet(channels)
        inputs, side = channels, size
        for number, base in enumerate(_WIDTHS, start=1):
            outputs = scaled(base, width)
            self.add_module(f"block{number}", _block(inputs, outputs, spatial_dropout))
            inputs, side = outputs, (side - 2) // 2
        self.flatten = nn.Flatten()
        self.head = mlp_head(inputs * side**2, num_classes, hidden=hidden, dropout=dropout)
        first_weights(self, "glorot")

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], the last map as a vector; F is 512 at width 1 and 32 pixels."""
        x = self.normalise(pixels)
        for number in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"block{number}")(x)
        flat: Tensor = self.flatten(x)
        return flat

    def blocks(self) -> dict[str, nn.Module]:
        """block1, block2, block3, head."""
        names = [f"block{number}" for number in range(1, len(_WIDTHS) + 1)]
        return {**{name: self.get_submodule(name) for name in names}, "head": self.head}


def compact_cnn(
    num_classes: int,
    *,
    channels: int,
    size: int,
    width: float = 1.0,
    hidden: int = 0,
    dropout: float = 0.0,
    spatial_dropout: float = 0.2,
) -> CompactCNN:
    """Build a CompactCNN; see there for the options."""
    return CompactCNN(
        num_classes,
        channels=channels,
        size=size,
        width=width,
        hidden=hidden,
        dropout=dropout,
        spatial_dropout=spatial_dropout,
    )

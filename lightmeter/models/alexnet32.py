"""AlexNet in one column, cut down to pictures of 32 pixels, with tanh in its dense layers."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightmeter.models.base import Model, Normalise
from lightmeter.models.dropout import Dropout
from lightmeter.models.keras import check_rate, first_weights, norm2d, scaled

_DENSE = 4096


class AlexNet32(Model):
    """Five convolutions, three poolings with BatchNorm after each, and three dense layers.

    Args:
        width: multiplies the filters and the units, rounded to 8.
        dropout: after each of the two hidden dense layers.

    Nearly all of its 22 million parameters lie in the head, which `freeze` "all" leaves to be trained.

    Source: Krizhevsky et al., 2012, as a published attempt on Tiny ImageNet rebuilt it in Keras: BatchNorm in place of
    the local response normalisation. The first filter's stride of 2 pads all four borders here, and the lower and right
    one alone in Keras, where the side is even.
    """

    minimum_size = 27  # a first map of 14 pixels, pooled to 7 and 3, leaves 1

    def __init__(self, num_classes: int, *, channels: int, size: int, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        check_rate(dropout, name="dropout")
        a, b, c, units = (scaled(base, width) for base in (96, 256, 384, _DENSE))
        self.normalise = Normalise.imagenet(channels)
        self.block1 = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(channels, a, 3, stride=2, padding=1),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                norm=norm2d(a),
            )
        )
        self.block2 = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(a, b, 5, padding=2), relu=nn.ReLU(), pool=nn.MaxPool2d(3, 2), norm=norm2d(b))
        )
        self.block3 = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(b, c, 3, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(c, c, 3, padding=1),
                relu2=nn.ReLU(),
                conv3=nn.Conv2d(c, b, 3, padding=1),
                relu3=nn.ReLU(),
                pool=nn.MaxPool2d(3, 2),
                norm=norm2d(b),
            )
        )
        self.flatten = nn.Flatten()
        side = (size + 1) // 2 // 2  # after the first filter and pooling
        side = ((side - 3) // 2 + 1 - 3) // 2 + 1  # after the other two poolings
        self.head = nn.Sequential(
            OrderedDict(
                dense1=nn.Linear(b * side**2, units),
                tanh1=nn.Tanh(),
                dropout1=Dropout(dropout),
                dense2=nn.Linear(units, units),
                tanh2=nn.Tanh(),
                dropout2=Dropout(dropout),
                last=nn.Linear(units, num_classes),
            )
        )
        first_weights(self, "glorot")

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], the last map as a vector; F is 256 at width 1 and 32 pixels."""
        x = self.block3(self.block2(self.block1(self.normalise(pixels))))
        flat: Tensor = self.flatten(x)
        return flat

    def blocks(self) -> dict[str, nn.Module]:
        """block1, block2, block3, head."""
        return {"block1": self.block1, "block2": self.block2, "block3": self.block3, "head": self.head}


def alexnet32(num_classes: int, *, channels: int, size: int, width: float = 1.0, dropout: float = 0.5) -> AlexNet32:
    """Build an AlexNet32; see there for the options."""
    return AlexNet32(num_classes, channels=channels, size=size, width=width, dropout=dropout)

"""Seven convolutions with BatchNorm after the activation, for the 200 classes of Tiny ImageNet at 32 pixels."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from lightmeter.models.base import Model, Normalise, mlp_head
from lightmeter.models.dropout import Dropout
from lightmeter.models.keras import check_rate, first_weights, norm2d, scaled

_BLOCKS = ((16, 2), (32, 2), (64, 2), (64, 1))  # filters at width 1, convolutions


def _block(inputs: int, outputs: int, convolutions: int, dropout: float) -> nn.Sequential:
    """conv 3x3 that keeps the map, ReLU, norm; a second that does not pad; pool 2 and dropout."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, convolutions + 1):
        parts[f"conv{number}"] = nn.Conv2d(inputs, outputs, 3, padding=1 if number == 1 else 0)
        parts[f"relu{number}"] = nn.ReLU()
        parts[f"norm{number}"] = norm2d(outputs)
        inputs = outputs
    parts["pool"], parts["dropout"] = nn.MaxPool2d(2), Dropout(dropout)
    return nn.Sequential(parts)


class TinyCNN(Model):
    """Four blocks of 16, 32, 64 and 64 filters, a global mean, ReLU, dropout and the last layer.

    Args:
        width: multiplies the filters, rounded to 8.
        dropout: after each pooling and before the last layer. The publication does not say its rate.

    Source: a published attempt on Tiny ImageNet in Keras, which reached 17.6 % and was judged to be under-fitted.
    """

    minimum_size = 30  # two filters of each of three blocks do not pad, and the fourth pools 2 pixels into 1

    def __init__(
        self, num_classes: int, *, channels: int, size: int, width: float = 1.0, dropout: float = 0.25
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        check_rate(dropout, name="dropout")
        self.normalise = Normalise.imagenet(channels)
        inputs = channels
        for number, (base, convolutions) in enumerate(_BLOCKS, start=1):
            outputs = scaled(base, width)
            self.add_module(f"block{number}", _block(inputs, outputs, convolutions, dropout))
            inputs = outputs
        self.mean, self.flatten, self.relu = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU()
        self.head = mlp_head(inputs, num_classes, dropout=dropout)
        first_weights(self, "glorot")

    def features(self, pixels: Tensor) -> Tensor:
        """uint8|float [N, S, S, C] -> float [N, F], the mean of the last map; F is 64 at width 1."""
        x = self.normalise(pixels)
        for number in range(1, len(_BLOCKS) + 1):
            x = self.get_submodule(f"block{number}")(x)
        features: Tensor = self.relu(self.flatten(self.mean(x)))
        return features

    def blocks(self) -> dict[str, nn.Module]:
        """block1 to block4, head."""
        names = [f"block{number}" for number in range(1, len(_BLOCKS) + 1)]
        return {**{name: self.get_submodule(name) for name in names}, "head": self.head}


def tiny_cnn(num_classes: int, *, channels: int, size: int, width: float = 1.0, dropout: float = 0.25) -> TinyCNN:
    """Build a TinyCNN; see there for the options."""
    return TinyCNN(num_classes, channels=channels, size=size, width=width, dropout=dropout)

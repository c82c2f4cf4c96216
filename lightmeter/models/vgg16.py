"""VGG-16 and VGG-19 with torchvision's parameter names, without their three dense layers: a source of features."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from lightmeter.models.base import Model, Normalise, mlp_head
from lightmeter.models.keras import check_rate, scaled

_WIDTHS = (64, 128, 256, 512, 512)  # filters per stage at width 1


class VGG(Model):
    """Five stages of 3x3 filters, each ended by a pooling, a global mean, and a head of our own.

    The publication's dense layers (120 million parameters, for one size of picture) are left out, as they are in Keras
    without the top. A published file may hold them: they are reported and not taken.

    Args:
        depths: convolutions per stage.
        width: multiplies the filters, rounded to 8.
        hidden: width of a hidden layer in the head; 0 is none.
        dropout: in the head.

    Source: Simonyan and Zisserman, 2014, configurations D and E, as torchvision builds them. `features` is a submodule
    because its published parameters are called so; it begins with the normalisation and ends with the mean.
    """

    minimum_size = 32
    head_name = "classifier"

    features: nn.Sequential

    def __init__(
        self,
        depths: tuple[int, int, int, int, int],
        num_classes: int,
        *,
        channels: int,
        size: int,
        width: float = 1.0,
        hidden: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, channels=channels, size=size)
        check_rate(dropout, name="dropout")
        layers: list[nn.Module] = []
        self._ends: list[int] = []  # number of layers up to the end of each stage
        inputs = channels
        for base, depth in zip(_WIDTHS, depths, strict=True):
            outputs = scaled(base, width)
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
            self._ends.append(len(layers))
        numbered = [(str(number), layer) for number, layer in enumerate(layers)]
        last = [("mean", nn.AdaptiveAvgPool2d(1)), ("flatten", nn.Flatten())]
        self.features = nn.Sequential(OrderedDict([("normalise", Normalise.imagenet(channels)), *numbered, *last]))
        self.classifier = mlp_head(inputs, num_classes, hidden=hidden, dropout=dropout)
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @property
    def head(self) -> nn.Sequential:  # type: ignore[override]
        """Dropout and the last layer, in the place of the published "classifier"."""
        return self.classifier

    def blocks(self) -> dict[str, nn.Module]:
        """block1 to block5, head."""
        found: dict[str, nn.Module] = {}
        for number, (start, end) in enumerate(zip([0, *self._ends], self._ends, strict=False), start=1):
            inside = [self.features.get_submodule(str(position)) for position in range(start, end)]
            found[f"block{number}"] = nn.ModuleList(inside)
        return {**found, "head": self.classifier}


def vgg16(
    num_classes: int, *, channels: int, size: int, width: float = 1.0, hidden: int = 0, dropout: float = 0.0
) -> VGG:
    """Thirteen convolutions; see VGG for the options."""
    return VGG((2, 2, 3, 3, 3), num_classes, channels=channels, size=size, width=width, hidden=hidden, dropout=dropout)


def vgg19(
    num_classes: int, *, channels: int, size: int, width: float = 1.0, hidden: int = 0, dropout: float = 0.0
) -> VGG:
    """Sixteen convolutions; see VGG for the options."""
    return VGG((2, 2, 4, 4, 4), num_classes, channels=channels, size=size, width=width, hidden=hidden, dropout=dropout)

"""What the networks that were drawn up in Keras share: BatchNorm, first weights, and filters that a dial scales.

Their published scores and parameter counts were obtained with these, so a faithful copy has them too.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from lightmeter.errors import RecipeError

_EPSILON, _MOMENTUM = 1e-3, 0.01  # Keras' own: epsilon 0.001, and 0.99 of the running average is kept at each step


def scaled(base: int, width: float) -> int:
    """`base` filters or units times `width`, rounded to a multiple of 8."""
    return max(8, round(base * width / 8) * 8)


def norm2d(channels: int) -> nn.BatchNorm2d:
    """BatchNorm of a map with Keras' constants."""
    return nn.BatchNorm2d(channels, eps=_EPSILON, momentum=_MOMENTUM)


def norm1d(units: int) -> nn.BatchNorm1d:
    """BatchNorm of a vector with Keras' constants."""
    return nn.BatchNorm1d(units, eps=_EPSILON, momentum=_MOMENTUM)


def check_rate(value: object, *, name: str) -> None:
    """Raise RecipeError where `value` cannot be the rate of a dropout: 0 or more, and below 1."""
    if not (isinstance(value, int | float) and 0 <= value < 1):
        raise RecipeError(f"A {name} of {value!r} is impossible.", "a share from 0 to below 1")


def first_weights(module: nn.Module, rule: Literal["glorot", "he"]) -> None:
    """Draw the filters and matrices of `module` anew, from Keras' uniform distributions, and set its biases to 0.

    "glorot" is what Keras uses where nothing is said; "he" is `he_uniform`, for layers that a ReLU follows.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if rule == "he":
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

"""What networks from Keras share is as Keras has it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.keras import check_rate, first_weights, norm1d, norm2d, scaled

DRAWN_UP_IN_KERAS = ("vgg_blocks", "tiny_cnn", "alexnet32", "compact_cnn")


@pytest.mark.parametrize(
    ("base", "width", "expected"), [(32, 1.0, 32), (96, 0.25, 24), (4096, 0.5, 2048), (16, 0.1, 8)]
)
def test_filters_are_rounded_to_eight(base: int, width: float, expected: int) -> None:
    assert scaled(base, width) == expected


@pytest.mark.parametrize("norm", [norm1d(4), norm2d(4)])
def test_batchnorm_has_the_constants_of_keras(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)


@pytest.mark.parametrize("name", DRAWN_UP_IN_KERAS)
def test_networks_from_keras_have_its_batchnorm(name: str) -> None:
    options = {"batchnorm": True} if name == "vgg_blocks" else {}
    with torch.device("meta"):
        model = MODELS[name](10, channels=3, size=32, **options)
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_first_weights_are_uniform_at_the_scale_of_their_rule() -> None:
    filters = nn.Conv2d(64, 128, 3)
    inputs, outputs = 64 * 9, 128 * 9
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for rule, bound in (("he", (6 / inputs) ** 0.5), ("glorot", (6 / (inputs + outputs)) ** 0.5)):
            first_weights(filters, rule)  # type: ignore[arg-type]
            assert filters.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
            assert filters.weight.std().item() == pytest.approx(bound / 3**0.5, rel=1e-2)
    assert filters.bias is not None
    assert filters.bias.abs().max() == 0


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, float("nan"), "half"])
def test_an_impossible_rate_is_refused(value: object) -> None:
    with pytest.raises(RecipeError, match=r"A dropout of .* is impossible.\n.*from 0 to below 1"):
        check_rate(value, name="dropout")


@pytest.mark.parametrize("name", [*DRAWN_UP_IN_KERAS, "vgg16"])
def test_networks_check_their_rates(name: str) -> None:
    with pytest.raises(RecipeError, match="dropout of 1 is impossible"):
        MODELS[name](10, channels=3, size=32, dropout=1)

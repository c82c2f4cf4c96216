"""A filter and a BatchNorm that keeps its statistics, in one pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.models import MODELS
from lightmeter.models.convolve import ConvNorm, convolve


def pair(*, bias: bool, affine: bool) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 3, padding=1, bias=bias), nn.BatchNorm2d(5, affine=affine).eval()
    for tensor in (norm.running_mean, norm.running_var, *norm.parameters()):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2.0)
    return conv, norm


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_output_and_gradients_are_those_of_the_two_layers(bias: bool, affine: bool) -> None:
    conv, norm = pair(bias=bias, affine=affine)
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    parameters = [x, *conv.parameters(), *norm.parameters()]
    expected, found = norm(conv(x)), convolve(conv, norm, x)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), parameters),
        torch.autograd.grad((expected * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_batchnorm_that_follows_no_filter_is_not_lost() -> None:
    conv, norm = pair(bias=True, affine=True)
    layers = [nn.BatchNorm2d(3).eval(), conv, norm, nn.ReLU(), nn.BatchNorm2d(5, eps=1.0).eval()]
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(ConvNorm(*layers)(x), nn.Sequential(*layers)(x))


def test_a_batchnorm_that_learns_from_its_batches_still_does() -> None:
    conv, norm = pair(bias=False, affine=True)
    norm.train()
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    found = convolve(conv, norm, torch.randn(4, 3, 8, 8))
    assert not torch.equal(norm.running_mean, before)  # type: ignore[arg-type]
    torch.testing.assert_close(found.mean((0, 2, 3)), norm.bias, atol=1e-5, rtol=1e-5)


def test_layers_in_a_row_may_be_any() -> None:
    conv, norm = pair(bias=False, affine=True)
    row = ConvNorm(conv, norm, nn.ReLU(), nn.Conv2d(5, 2, 1))
    plain = nn.Sequential(*row)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(row(x), plain(x))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet50", "inception_v3"])
def test_networks_compute_the_same_with_gradients_and_without(name: str) -> None:
    torch.manual_seed(0)
    size = 75 if name == "inception_v3" else 32
    model = MODELS[name](3, channels=3, size=size, width=0.25).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    with_gradients = model(pixels)
    assert with_gradients.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(with_gradients.detach(), model(pixels), atol=1e-4, rtol=1e-4)

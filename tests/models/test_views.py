"""Test-time views against a slow twin, and the fused copy against its model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.models.fused import fused
from lightmeter.models.views import MultiView


def model() -> Model:
    """A small network with random weights, in evaluation mode."""
    torch.manual_seed(0)
    built = MODELS["whitened"](7, channels=3, size=16, width=0.25)
    built.prepare(torch.randint(0, 256, (32, 16, 16, 3), dtype=torch.uint8))
    return built.eval()


def shifted(pixels: Tensor, by: int) -> Tensor:
    """Each picture moved by one pixel down and right (by=-1) or up and left (by=1), its border reflected."""
    padded = np.pad(pixels.numpy(), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    start = 1 + by
    return torch.from_numpy(padded[:, start : start + 16, start : start + 16].copy())


def test_views_are_the_stated_averages() -> None:
    net = model()
    pixels = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():

        def mirrored(x: Tensor) -> Tensor:
            result: Tensor = (net(x) + net(torch.from_numpy(x.numpy()[:, :, ::-1].copy()))) / 2
            return result

        plain = mirrored(pixels)
        six = plain / 2 + (mirrored(shifted(pixels, -1)) + mirrored(shifted(pixels, 1))) / 4
        torch.testing.assert_close(MultiView(net, 1)(pixels), net(pixels))
        torch.testing.assert_close(MultiView(net, 2)(pixels), plain)
        torch.testing.assert_close(MultiView(net, 6)(pixels), six)


def test_mirror_images_get_the_same_answer() -> None:
    pixels = torch.randint(0, 256, (5, 16, 16, 3), dtype=torch.uint8)
    with torch.no_grad():
        for views in (2, 6):
            view = MultiView(model(), views)  # type: ignore[arg-type]
            if views == 2:
                torch.testing.assert_close(view(pixels), view(pixels.flip(2)))
            assert view(pixels).shape == (5, 7)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_fused_copy_computes_the_same_and_leaves_the_model_alone(name: str) -> None:
    torch.manual_seed(1)
    side = 80 if name == "inception_v3" else 32
    net = MODELS[name](4, channels=3, size=side, width=0.25)
    pixels = torch.randint(0, 256, (6, side, side, 3), dtype=torch.uint8)
    net.train()
    for _ in range(2):
        net(pixels)  # gives the norms statistics of their own
    net.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    copy = fused(net, pixels)
    with torch.no_grad():
        torch.testing.assert_close(copy.features(pixels), net.features(pixels), atol=1e-3, rtol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_norms_are_folded_where_that_holds() -> None:
    net = MODELS["mobilenet_v2"](4, channels=3, size=32, width=0.25).eval()
    copy = fused(net, torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())


class _Misleading(Model):
    """Registers a norm beside a filter that does not feed it."""

    def __init__(self) -> None:
        super().__init__(2, channels=3, size=8)
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(5.0)  # type: ignore[union-attr]
        self.head = nn.Linear(3, 2)

    def features(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.conv(self.norm(pixels.permute(0, 3, 1, 2).float())).mean(dim=(2, 3))
        return result

    def blocks(self) -> dict[str, nn.Module]:
        return {"conv": self.conv, "norm": self.norm, "head": self.head}


def test_a_norm_that_only_stands_beside_a_filter_is_not_folded() -> None:
    net = _Misleading().eval()
    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    copy = fused(net, pixels)
    with torch.no_grad():
        torch.testing.assert_close(copy.features(pixels), net.features(pixels))

"""Dropout by the byte does what PyTorch's does."""

from __future__ import annotations

from inspect import signature

import pytest
import torch
from torch import Tensor, nn

from lightmeter.models import MODELS
from lightmeter.models.dropout import Dropout


def dropped(p: float, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(p).train()(torch.ones(shape))


@pytest.mark.parametrize("p", [0.2, 0.5, 0.8])
def test_the_share_that_was_asked_for_is_dropped_and_the_rest_made_up_for_it(p: float) -> None:
    found = dropped(p, (400, 1001))  # no whole number of draws
    nearest = round(256 * p) / 256
    assert float((found == 0).float().mean()) == pytest.approx(nearest, abs=0.005)  # 6 standard deviations
    kept = found[found != 0]
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - nearest)))


def test_every_byte_of_a_draw_drops_alike() -> None:
    shares = (dropped(0.5, (50_000, 8)) == 0).float().mean(dim=0)
    assert float((shares - 0.5).abs().max()) < 0.015  # 6 standard deviations


def test_the_seed_decides() -> None:
    assert torch.equal(dropped(0.5, (9, 9)), dropped(0.5, (9, 9)))
    assert not torch.equal(dropped(0.5, (9, 9)), dropped(0.5, (9, 9), seed=1))


def test_what_was_dropped_has_no_gradient_and_the_rest_has_its_share() -> None:
    torch.manual_seed(0)
    given = torch.ones(50, 50, requires_grad=True)
    found = Dropout(0.5).train()(given)
    found.sum().backward()
    assert given.grad is not None
    assert torch.equal(given.grad, found.detach())


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_all_or_nothing(p: float) -> None:
    assert torch.equal(dropped(p, (7, 7)), torch.full((7, 7), 1 - p))


def test_outside_of_training_nothing_is_dropped() -> None:
    given = torch.randn(3, 5, 5)
    assert torch.equal(Dropout(0.5).eval()(given), given)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_stays(layout: torch.memory_format) -> None:
    given = torch.randn(2, 3, 4, 5).to(memory_format=layout)
    assert Dropout(0.5).train()(given).stride() == given.stride()


def test_no_network_draws_a_number_for_each_element() -> None:
    asked = {name: {"dropout": 0.5} for name in MODELS if "dropout" in signature(MODELS[name]).parameters}
    assert "mobilenet_v2" in asked and "vgg_blocks" in asked
    for name, options in asked.items():
        with torch.device("meta"):
            model = MODELS[name](4, channels=3, size=96, **options)
        kinds = {type(part) for part in model.modules() if isinstance(part, nn.Dropout)}
        assert kinds == {Dropout}, name

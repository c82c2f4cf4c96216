"""The moving average of weights, against a loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.optim.ema import EMA


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def change(module: nn.Module, step: int) -> None:
    with torch.no_grad():
        for position, tensor in enumerate(module.state_dict().values()):
            if tensor.is_floating_point():
                tensor.copy_(torch.full_like(tensor, 10.0 * position + step))
            else:
                tensor.fill_(step)


def test_parameters_and_buffers_follow_the_weighted_mean() -> None:
    module = net()
    ema, slow = EMA(module, 0.3), {name: t.double().clone() for name, t in module.state_dict().items()}
    for step in range(6):
        change(module, step)
        ema.update(module)
        decay = min(0.3, (1 + step) / (10 + step))
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                slow[name] = decay * slow[name] + (1 - decay) * tensor.double()
            else:
                slow[name] = tensor.double()
    ema.copy_to(module)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor.double(), slow[name], rtol=1e-5, atol=1e-5)


def test_the_average_is_apart_from_the_module() -> None:
    module = net()
    before = module[0].weight.detach().clone()
    ema = EMA(module, 0.9)
    change(module, 5)
    assert not torch.equal(module[0].weight, before)
    ema.copy_to(module)
    assert torch.equal(module[0].weight, before)


def test_the_random_start_is_soon_forgotten() -> None:
    module = net()
    ema = EMA(module, 0.9999)
    for _ in range(30):
        change(module, 0)
        ema.update(module)
    ema.copy_to(module)
    assert module[0].weight.abs().max() < 1e-3  # without warm-up 0.997 of the start would be left


def test_going_on_from_a_saved_state_is_as_if_never_stopped() -> None:
    module = net()
    first = EMA(module, 0.9)
    for step in range(3):
        change(module, step)
        first.update(module)
    second = EMA(net(), 0.9)
    second.load_state_dict({name: tensor.clone() for name, tensor in first.state_dict().items()})
    for step in range(3, 6):
        change(module, step)
        first.update(module)
        second.update(module)
    assert all(torch.equal(one, second.state_dict()[name]) for name, one in first.state_dict().items())


def test_another_models_state_is_refused() -> None:
    ema = EMA(net(), 0.9)
    with pytest.raises(KeyError, match="weight"):
        ema.load_state_dict(EMA(nn.Linear(3, 4), 0.9).state_dict())
    other = EMA(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), 0.9)
    with pytest.raises(RuntimeError, match=r"\(5, 3\), not \(4, 3\)"):
        ema.load_state_dict(other.state_dict())

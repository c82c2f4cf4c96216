"""What every optimizer promises, for each name in `OPTIMIZERS`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Optimizer, Schedule
from lightmeter.optim import OPTIMIZERS, SCHEDULES, build_optimizer, factor, set_lr
from lightmeter.optim.losses import cross_entropy, soft_targets

every_optimizer = pytest.mark.parametrize("name", sorted(OPTIMIZERS))


@pytest.fixture(autouse=True)
def _own_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def choice(name: str, rate: float = 0.02) -> Optimizer:
    return Optimizer(name=name, lr=rate, bias_lr=rate, head_lr=rate)


def train(module: nn.Module, optimizers: tuple[torch.optim.Optimizer, ...], steps: range) -> list[float]:
    """Learn which of three channels is bright, if any; step numbers fix the data and the rates."""
    losses = []
    for step in steps:
        set_lr(optimizers, factor(step / 40, Schedule()))
        generator = torch.Generator().manual_seed(step % 2)
        labels = torch.arange(16) % 4
        tint = 80 * torch.eye(4, 3)[labels].view(16, 1, 1, 3)
        pixels = tint + torch.randint(0, 176, (16, 16, 16, 3), generator=generator)
        loss = cross_entropy(module(pixels), soft_targets(labels, 4))
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    return losses


class Net(nn.Module):
    """Filters, each followed by a normalisation, and a head; its filters lie channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 4)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = pixels.permute(0, 3, 1, 2).float() / 255 - 0.5
        x = self.norm1(self.conv1(x)).relu()
        logits: torch.Tensor = self.head(self.norm2(self.conv2(x)).relu().mean(dim=(2, 3)))
        return logits


def net() -> nn.Module:
    return Net()


@every_optimizer
def test_it_lowers_a_quadratic(name: str) -> None:
    class Bowl(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.eye(4) + 0.1 * torch.randn(4, 4))
            self.head = nn.Linear(4, 4)

        def forward(self) -> torch.Tensor:
            direction = self.matrix / self.matrix.norm()  # as a normalisation after it would see it
            total: torch.Tensor = (direction[0] - 0.5).square().sum() + (self.head.weight - 1).square().sum()
            return total + (self.head.bias + 2).square().sum()

    bowl = Bowl()
    optimizers = build_optimizer(bowl, choice(name, 0.05))
    first = bowl().item()
    for step in range(200):
        set_lr(optimizers, 1 - step / 200)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = bowl()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert bowl().item() < 0.05 * first


@every_optimizer
def test_it_trains_a_small_network(name: str) -> None:
    module = net()
    losses = train(module, build_optimizer(module, choice(name)), range(40))
    assert sum(losses[-2:]) < 0.3 * sum(losses[:2])


@every_optimizer
def test_going_on_from_a_saved_state_is_bit_identical(name: str) -> None:
    straight = net()
    stopped = copy.deepcopy(straight)
    train(straight, build_optimizer(straight, choice(name)), range(12))

    optimizers = build_optimizer(stopped, choice(name))
    train(stopped, optimizers, range(7))
    states = [_through_a_file(optimizer.state_dict()) for optimizer in optimizers]
    resumed = net()
    resumed.load_state_dict({key: value.contiguous().clone() for key, value in stopped.state_dict().items()})
    again = build_optimizer(resumed, choice(name))
    for optimizer, state in zip(again, states, strict=True):
        optimizer.load_state_dict(state)
    train(resumed, again, range(7, 12))
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def _through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """Tensors come back from a file contiguous and in fresh memory."""
    copied = copy.deepcopy(state)
    for entry in copied["state"].values():
        for key, value in entry.items():
            if isinstance(value, torch.Tensor):
                entry[key] = value.contiguous().clone()
    return copied


@every_optimizer
def test_groups_carry_names_and_peaks(name: str) -> None:
    for optimizer in build_optimizer(net(), choice(name)):
        for group in optimizer.param_groups:
            assert group["name"] in ("matrix", "bias", "head")
            assert group["peak_lr"] == group["lr"] == 0.02


@every_optimizer
def test_every_trainable_parameter_is_in_one_optimizer(name: str) -> None:
    module = net()
    optimizers = build_optimizer(module, choice(name))
    held = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in module.parameters())


@every_optimizer
def test_a_rate_of_zero_moves_nothing(name: str) -> None:
    module = net()
    before = {key: value.detach().clone() for key, value in module.named_parameters()}
    optimizers = build_optimizer(module, Optimizer(name=name, lr=0.1, bias_lr=0.1, head_lr=0.1))
    module(torch.zeros(4, 16, 16, 3)).sum().backward()
    set_lr(optimizers, 0.0)
    for optimizer in optimizers:
        optimizer.step()
    for key, value in module.named_parameters():
        direction = torch.nn.functional.cosine_similarity(value.flatten(), before[key].flatten(), dim=0)
        # Muon may rescale what it holds at a fixed norm; it may not turn it.
        assert torch.equal(value, before[key]) or (name == "muon" and direction > 0.9999), key


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_starts_at_its_peak_and_never_leaves_0_to_1(name: str) -> None:
    values = [factor(step / 100, Schedule(name=name)) for step in range(101)]
    assert values[0] == 1
    assert all(0 <= value <= 1 for value in values)


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"(?s)no optimizer called 'lion'.*muon"):
        build_optimizer(net(), choice("lion"))

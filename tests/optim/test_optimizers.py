"""SGD and AdamW against loops in NumPy, and states that keep their place in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Optimizer
from lightmeter.optim import build_optimizer

Values = NDArray[np.float64]


def choice(name: str, **settings: float) -> Optimizer:
    return Optimizer.model_validate({"name": name, "lr": 0.1, "bias_lr": 0.1, "head_lr": 0.1, **settings})


def gradients(steps: int, shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


def moved(optimizer_choice: Optimizer, start: torch.Tensor, grads: list[torch.Tensor]) -> Values:
    head = nn.Linear(start.shape[1], start.shape[0], bias=False)
    with torch.no_grad():
        head.weight.copy_(start)
    optimizers = build_optimizer(head, optimizer_choice)
    for gradient in grads:
        head.weight.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    return head.weight.detach().double().numpy()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_sgd_is_nesterov_with_decay_apart(momentum: float, decay: float) -> None:
    start, grads = torch.linspace(-1, 1, 12).view(3, 4), gradients(5, (3, 4))
    weight, velocity = start.double().numpy().copy(), np.zeros((3, 4))
    for gradient in grads:
        g = gradient.double().numpy()
        weight -= 0.1 * decay * weight
        velocity = momentum * velocity + g
        weight -= 0.1 * (g + momentum * velocity)
    result = moved(choice("sgd", head_lr=0.1, momentum=momentum, weight_decay=decay), start, grads)
    np.testing.assert_allclose(result, weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_adamw_is_the_papers(decay: float) -> None:
    start, grads = torch.linspace(-1, 1, 12).view(3, 4), gradients(5, (3, 4))
    weight, first, second = start.double().numpy().copy(), np.zeros((3, 4)), np.zeros((3, 4))
    for step, gradient in enumerate(grads, start=1):
        g = gradient.double().numpy()
        weight -= 0.1 * decay * weight
        first = 0.8 * first + 0.2 * g
        second = 0.999 * second + 0.001 * g**2
        weight -= 0.1 * (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    result = moved(choice("adamw", momentum=0.8, weight_decay=decay), start, grads)
    np.testing.assert_allclose(result, weight, rtol=1e-4, atol=1e-5)


def test_adam_is_adamw_without_decay_and_says_so() -> None:
    start, grads = torch.linspace(-1, 1, 12).view(3, 4), gradients(4, (3, 4))
    np.testing.assert_array_equal(moved(choice("adam"), start, grads), moved(choice("adamw"), start, grads))
    with pytest.raises(RecipeError, match=r"(?s)adam was given weight_decay=0.1.*adamw"):
        build_optimizer(nn.Linear(3, 3), choice("adam", weight_decay=0.1))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_weight_decay_shrinks_each_step_by_rate_times_decay(name: str) -> None:
    result = moved(choice(name, weight_decay=0.5), torch.ones(2, 2), [torch.zeros(2, 2)] * 3)
    np.testing.assert_allclose(result, (1 - 0.1 * 0.5) ** 3, rtol=1e-6)


def test_sgd_does_not_decay_what_has_no_gradient() -> None:
    head = nn.Linear(4, 3)
    before = head.weight.detach().clone()
    for optimizer in build_optimizer(head, choice("sgd", weight_decay=0.5)):
        optimizer.step()
    assert torch.equal(head.weight, before)


def test_biases_do_not_decay() -> None:
    head = nn.Linear(4, 3)
    nn.init.ones_(head.bias)
    head.weight.grad, head.bias.grad = torch.zeros(3, 4), torch.zeros(3)
    for optimizer in build_optimizer(head, choice("sgd", weight_decay=0.5)):
        optimizer.step()
    assert torch.equal(head.bias, torch.ones(3))


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_a_loaded_state_lies_in_memory_as_its_filters_do(name: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, bias=False)
            self.head = nn.Linear(6, 3)

    net = Net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizers = build_optimizer(net, choice(name))
    for optimizer in optimizers:
        optimizer.step()
    for optimizer in build_optimizer(net, choice(name)):
        states = next(one for one in optimizers if type(one) is type(optimizer)).state_dict()
        for state in states["state"].values():
            for key, value in state.items():
                if isinstance(value, torch.Tensor):
                    state[key] = value.contiguous().clone()  # as a file gives it back
        optimizer.load_state_dict(states)
        for parameter, state in optimizer.state.items():
            shaped = [value for value in state.values() if torch.is_tensor(value) and value.shape == parameter.shape]
            assert shaped
            assert all(value.stride() == parameter.stride() for value in shaped)

"""Parameter groups to PyTorch optimizers, all with decoupled weight decay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import Optimizer
from lightmeter.optim.muon import Muon

Groups = list[dict[str, Any]]


class DecoupledSGD(torch.optim.SGD):
    """SGD whose weight decay shrinks the weights by `lr * weight_decay` before each step.

    torch's own adds the decay to the gradient, where momentum multiplies it by about 1 / (1 - momentum): for the same
    effect there, its number is that much smaller. Nesterov's momentum, where there is any.
    """

    def __init__(self, groups: Groups, *, momentum: float) -> None:
        # torch would read "weight_decay" in its own way, so ours goes by another name
        own = [{**group, "decay": group["weight_decay"], "weight_decay": 0.0} for group in groups]
        lr = groups[0]["lr"]
        super().__init__(own, lr=lr, momentum=momentum, nesterov=momentum > 0, fused=_can_fuse(groups))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Decay, then take torch's step."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["decay"] and moved:
                torch._foreach_mul_(moved, 1.0 - group["lr"] * group["decay"])
        loss: float | None = super().step(closure)
        return loss


def sgd(groups: Groups, choice: Optimizer) -> tuple[torch.optim.Optimizer, ...]:
    """SGD with Nesterov's momentum and decoupled weight decay."""
    return (DecoupledSGD(groups, momentum=choice.momentum),)


def adam(groups: Groups, choice: Optimizer) -> tuple[torch.optim.Optimizer, ...]:
    """Adam, `momentum` as its first beta. Raises RecipeError for weight decay, which makes it AdamW."""
    if choice.weight_decay:
        raise RecipeError(
            f"The optimizer adam was given weight_decay={choice.weight_decay:g}.",
            "no weight decay",
            "use the optimizer adamw, whose decay is decoupled from the gradient.",
        )
    return adamw(groups, choice)


def adamw(groups: Groups, choice: Optimizer) -> tuple[torch.optim.Optimizer, ...]:
    """Adam with decoupled weight decay, `momentum` as its first beta; the second is 0.999."""
    betas = (choice.momentum, 0.999)
    return (torch.optim.AdamW(groups, lr=choice.lr, betas=betas, fused=_can_fuse(groups)),)


def muon(groups: Groups, choice: Optimizer) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the filters and matrices, SGD for the head and all that has one dimension.

    `momentum` and `weight_decay` are SGD's, `muon_momentum` is Muon's, which holds the norm of what it moves, so that
    decay would do nothing.
    """
    matrices = [{**group, "weight_decay": 0.0} for group in groups if group["name"] == "matrix"]
    others = [group for group in groups if group["name"] != "matrix"]
    first = (Muon(matrices, lr=choice.lr, momentum=choice.muon_momentum),) if matrices else ()
    return (*first, *(sgd(others, choice) if others else ()))


def keep_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay a loaded optimizer's state out in memory as its parameters are.

    A state saved to a file comes back contiguous while filters may lie channels-last; sums over the two differ in
    their last bits, and a fused kernel walks both as they lie. Resuming is bit-identical only with this.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _can_fuse(groups: Groups) -> bool:
    """Whether PyTorch has one kernel for the whole step there."""
    return all(
        parameter.device.type in ("cpu", "cuda") and parameter.dtype.is_floating_point
        for group in groups
        for parameter in group["params"]
    )

"""Muon: momentum whose update, for each filter bank, is replaced by the nearest orthogonal matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

# Coefficients of the quintic iteration, chosen by its author for the steepest slope at zero: after five steps the
# singular values lie in about 0.7..1.2, which trains as well as exact orthogonality (tests hold the slow twin).
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: Tensor, steps: int = 3) -> Tensor:
    """Push the singular values of each matrix towards 1 by Newton-Schulz iteration.

    Args:
        matrices: float [..., rows, columns].
        steps: iterations; 3 is enough for the small networks here, 5 is the author's default.

    Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """
    x = matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.size(-2) > x.size(-1)
    if tall:  # the products below are then of the smaller side
        x = x.mT
    for _ in range(steps):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, on weights kept at a fixed norm.

    Each filter bank [out, in, kh, kw] is treated as a matrix [out, in * kh * kw]. Before each step it is scaled to the
    Frobenius norm sqrt(out), so that a learning rate means the same relative change in every layer; a weight so
    treated must be followed by a normalisation, which makes its scale meaningless.

    Args:
        params: parameters or groups; every tensor has at least two dimensions.
        lr: relative step per update.
        momentum: of the gradient average.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, momentum: float = 0.6, steps: int = 3
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step with the gradients that stand in `.grad`."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                average = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                ahead = weight.grad.add(average, alpha=group["momentum"])
                update = orthogonalise(ahead.reshape(len(ahead), -1), group["steps"]).view(weight.shape)
                weight.mul_(len(weight) ** 0.5 / weight.norm())
                weight.add_(update, alpha=-group["lr"])
        return loss

"""A moving average of weights over the steps of a training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_UPDATES = "updates"


class EMA:
    """Exponential moving average of a module's parameters and floating-point buffers; other buffers are copied.

    The decay of update number n is min(decay, (1 + n) / (10 + n)), so that the random first weights are soon
    forgotten.

    Args:
        module: what is averaged; the average starts as its present weights.
        decay: per update, 0 <= decay < 1.

    Source: the warm-up is that of TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._shadow = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        weight = 1.0 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        shadows, presents = [], []
        for name, present in module.state_dict().items():
            shadow = self._shadow[name]
            if shadow.is_floating_point():
                shadows.append(shadow)
                presents.append(present)
            else:
                shadow.copy_(present)
        torch._foreach_lerp_(shadows, presents, weight)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the average into the module, in place."""
        for name, tensor in module.state_dict().items():
            tensor.copy_(self._shadow[name])

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors by name, the number of updates among them. They are this object's own, not copies."""
        return {**self._shadow, _UPDATES: torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over what `state_dict` gave. Raises KeyError where the names differ, RuntimeError where shapes do."""
        if set(state) != {*self._shadow, _UPDATES}:
            raise KeyError(", ".join(sorted(set(state) ^ {*self._shadow, _UPDATES})))
        for name, shadow in self._shadow.items():
            if shadow.shape != state[name].shape:
                raise RuntimeError(f"{name} is {tuple(state[name].shape)}, not {tuple(shadow.shape)}")
            shadow.copy_(state[name])
        self.updates = int(state[_UPDATES])

"""Dropout whose draws cost little on a processor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STEPS = 256  # values of a byte
_BYTES = 8  # of a draw


class Dropout(nn.Dropout):
    """As `torch.nn.Dropout`, with a probability in whole 256ths and eight elements decided by one draw.

    PyTorch draws 32 bits for each element, on one core: of a linear head's step on features that was more than half.
    What is kept is scaled by what is kept on average, so that the expectation is exact. `p` is rounded to the nearest
    1/256, but for those that would become 0 or 1, which PyTorch drops.
    """

    def forward(self, input: Tensor) -> Tensor:
        """float[...] -> float[...]; the input itself outside of training."""
        dropped = round(self.p * _STEPS)
        if not self.training or input.device.type != "cpu" or not 0 < dropped < _STEPS:
            return super().forward(input)
        draws = torch.empty(-(-input.numel() // _BYTES), dtype=torch.int64).random_(-(2**63), None)
        kept = (draws.view(torch.uint8)[: input.numel()] >= dropped).to(input.dtype).mul_(_STEPS / (_STEPS - dropped))
        channels_last = input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
        # In the order in which the input lies: any other would cost more than the draws.
        return input * (kept.as_strided(input.shape, input.stride()) if channels_last else kept.view(input.shape))

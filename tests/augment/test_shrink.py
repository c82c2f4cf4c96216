"""Pictures shrunk for the first part of a training."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.augment.shrink import shrunk, shrunk_side


def ramps(channels: int) -> torch.Tensor:
    """Two pictures whose brightness rises evenly to the right and downwards: uint8[2, 32, 32, C]."""
    right = torch.arange(32).mul(8).to(torch.uint8).expand(32, 32)
    return torch.stack([right, right.T]).unsqueeze(3).repeat(1, 1, 1, channels)


def test_a_ramp_stays_a_ramp() -> None:
    for channels in (1, 3):
        small = shrunk(ramps(channels), 0.75)
        assert (small.shape, small.dtype) == ((2, 24, 24, channels), torch.uint8)
        expected = (torch.arange(24) + 0.5) * 32 / 24 * 8 - 4
        apart = (small[0, :, :, 0].float() - expected).abs()
        assert apart[:, 1:-1].max() <= 1  # at the border half of the filter lies outside
        assert torch.equal(small[1], small[0].transpose(0, 1))


def test_bytes_and_numbers_agree_to_a_grey_level() -> None:
    noise = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    apart = shrunk(noise, 0.75).float() - shrunk(noise.float(), 0.75)
    assert apart.abs().max() <= 1


@given(st.integers(1, 300), st.floats(0.01, 1))
def test_a_side_is_never_nothing_nor_larger(side: int, scale: float) -> None:
    assert 1 <= shrunk_side(side, scale) <= side

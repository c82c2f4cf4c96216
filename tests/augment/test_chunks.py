"""Chunks change nothing but the time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lightmeter.augment.base import Drawn
from lightmeter.augment.chunks import in_chunks

PIXELS = torch.arange(50 * 8 * 8 * 3).remainder(251).to(torch.uint8).view(50, 8, 8, 3)


@pytest.mark.parametrize("size", [100, 1_000, 5_000, 1 << 20])  # less than a picture, to more than all
def test_each_picture_meets_what_was_drawn_for_it(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmeter.augment.chunks._CHUNK_BYTES", size)
    met: list[int] = []

    def add(pixels: Tensor, drawn: Drawn) -> Tensor:
        met.append(len(pixels))
        return pixels + drawn["own"].view(-1, 1, 1, 1) + drawn["all"]

    def double(pixels: Tensor, drawn: Drawn) -> Tensor:
        return pixels * 2

    drawn = {"own": torch.arange(50, dtype=torch.uint8), "all": torch.tensor([3], dtype=torch.uint8)}
    expected = double(PIXELS + drawn["own"].view(-1, 1, 1, 1) + drawn["all"], {})
    assert torch.equal(in_chunks(PIXELS, [(add, drawn), (double, {})]), expected)
    assert sum(met) == 50
    assert max(met) == min(50, max(1, size // PIXELS[0].numel()))

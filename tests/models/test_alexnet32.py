"""AlexNet for 32 pixels is the published one, layer by layer."""

from __future__ import annotations

import pytest
import torch

from lightmeter.models import MODELS
from lightmeter.models.table import layer_table


def test_every_layer_is_the_published_one() -> None:
    with torch.device("meta"):
        table = layer_table(MODELS["alexnet32"](200, channels=3, size=32))
    held = [(row.kind, row.parameters, row.shape) for row in table.rows if row.parameters]
    assert held == [
        ("Conv2d", 2_688, (16, 16, 96)),
        ("BatchNorm2d", 384, (8, 8, 96)),
        ("Conv2d", 614_656, (8, 8, 256)),
        ("BatchNorm2d", 1_024, (3, 3, 256)),
        ("Conv2d", 885_120, (3, 3, 384)),
        ("Conv2d", 1_327_488, (3, 3, 384)),
        ("Conv2d", 884_992, (3, 3, 256)),
        ("BatchNorm2d", 1_024, (1, 1, 256)),
        ("Linear", 1_052_672, (4096,)),
        ("Linear", 16_781_312, (4096,)),
        ("Linear", 819_400, (200,)),
    ]
    assert (table.total, table.trainable, table.non_trainable) == (22_370_760, 22_369_544, 1_216)
    head = [row.kind for row in table.blocks()["head"]]
    assert head == ["Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]


@pytest.mark.parametrize("size", [27, 32, 41, 48, 64, 75])
def test_the_dense_layers_fit_the_last_map_at_any_size(size: int) -> None:
    model = MODELS["alexnet32"](3, channels=1, size=size, width=0.1).eval()
    assert model(torch.zeros(1, size, size, 1, dtype=torch.uint8)).shape == (1, 3)

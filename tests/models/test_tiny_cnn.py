"""The network for Tiny ImageNet is the published one, layer by layer."""

from __future__ import annotations

import torch
from torch import nn

from lightmeter.models import MODELS
from lightmeter.models.table import layer_table


def test_every_layer_is_the_published_one() -> None:
    with torch.device("meta"):
        table = layer_table(MODELS["tiny_cnn"](200, channels=3, size=32))
    convolutions = [row for row in table.rows if row.kind == "Conv2d"]
    assert [row.parameters for row in convolutions] == [448, 2_320, 4_640, 9_248, 18_496, 36_928, 36_928]
    assert [row.shape[0] for row in convolutions] == [32, 30, 15, 13, 6, 4, 2]  # the second of each pair does not pad
    assert [row.parameters for row in table.rows if row.kind == "Linear"] == [13_000]
    after = [table.rows[position + step].kind for position in (0, 3) for step in (1, 2)]
    assert after == ["ReLU", "BatchNorm2d"] * 2  # in this order
    assert [row.kind for row in table.rows[-5:]] == ["AdaptiveAvgPool2d", "Flatten", "ReLU", "Dropout", "Linear"]
    # 109,008 of the convolutions, 4 for each of 288 channels of BatchNorm, 13,000.
    assert (table.total, table.trainable, table.non_trainable) == (123_160, 122_584, 576)


def test_the_rate_holds_for_every_dropout() -> None:
    model = MODELS["tiny_cnn"](5, channels=1, size=32, width=0.5, dropout=0.4)
    assert [layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)] == [0.4] * 5

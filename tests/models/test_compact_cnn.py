"""The network for transfer from CIFAR-10 is the published one, with either of its heads."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.models import MODELS
from lightmeter.models.base import frozen_layers, layers
from lightmeter.models.table import count, layer_table


def test_its_base_is_the_published_one() -> None:
    with torch.device("meta"):
        model = MODELS["compact_cnn"](10, channels=3, size=32)
    base = nn.ModuleList([block for name, block in model.blocks().items() if name != "head"])
    counts = count(base)
    assert (counts.total, counts.trainable, counts.non_trainable) == (288_800, 287_904, 896)
    rows = layer_table(model).rows
    assert [row.shape for row in rows if row.kind == "Dropout2d"] == [(15, 15, 32), (6, 6, 64), (2, 2, 128)]
    assert [row.kind for row in rows[:8]] == [
        *("Conv2d", "ReLU", "BatchNorm2d", "Conv2d", "ReLU", "BatchNorm2d", "MaxPool2d", "Dropout2d")
    ]


@pytest.mark.parametrize(("hidden", "head"), [(0, 102_600), (512, 365_256), (1024, 730_312)])
def test_its_heads_read_the_last_map(hidden: int, head: int) -> None:
    with torch.device("meta"):
        model = MODELS["compact_cnn"](200, channels=3, size=32, hidden=hidden, dropout=0.5)
    assert count(model.head).total == head  # 512 features to (hidden units, then) 200 classes
    assert count(model).total == 288_800 + head
    assert [layer.p for layer in model.head.modules() if isinstance(layer, nn.Dropout)] == [0.5]


def test_its_base_has_24_layers_of_which_the_last_ones_can_be_trained() -> None:
    with torch.device("meta"):
        model = MODELS["compact_cnn"](200, channels=3, size=32, hidden=1024)
    names = list(layers(model))
    assert names[24] == "flatten"
    assert frozen_layers(model, ("16",)) == tuple(name for name in names if name.startswith(("block1", "block2")))


def test_spatial_dropout_drops_whole_planes() -> None:
    model = MODELS["compact_cnn"](4, channels=3, size=32, width=0.25, spatial_dropout=0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        planes = model.get_submodule("block1.dropout").train()(torch.ones(1, 100, 5, 5)).mean(dim=(2, 3))
    assert set(planes.flatten().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("size", [22, 32, 33, 64])
def test_the_head_fits_the_last_map_at_any_size(size: int) -> None:
    model = MODELS["compact_cnn"](3, channels=1, size=size, width=0.25).eval()
    assert model(torch.zeros(1, size, size, 1, dtype=torch.uint8)).shape == (1, 3)

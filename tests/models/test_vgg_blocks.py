"""VGG blocks are those of the published ablation: exact counts, and switches that do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.base import Model, layers
from lightmeter.models.table import count


def build(**options: object) -> Model:
    with torch.device("meta"):
        return MODELS["vgg_blocks"](10, channels=3, size=32, **options)


@pytest.mark.parametrize(
    ("blocks", "batchnorm", "total", "statistics"),
    [
        (1, False, 1_060_138, 0),  # 896 + 9,248; 32 maps of 16x16 to 128 units; 1,290
        (2, False, 591_274, 0),
        (3, False, 550_570, 0),
        (1, True, 1_060_906, 384),  # 4 values for each of 2 * 32 + 128 channels
        (3, True, 552_874, 1_152),
    ],
)
def test_counts_are_those_of_keras(blocks: int, batchnorm: bool, total: int, statistics: int) -> None:
    counts = count(build(blocks=blocks, batchnorm=batchnorm, dropout=0.2))
    assert (counts.total, counts.trainable, counts.non_trainable) == (total, total - statistics, statistics)


def test_switches_put_layers_in_their_places() -> None:
    def kinds(part: nn.Module) -> str:
        short = {"Conv2d": "c", "Linear": "d", "ReLU": "r", "MaxPool2d": "p", "Dropout": "x", "Flatten": "f"}
        return "".join(short.get(type(layer).__name__, "b") for layer in part.modules() if not list(layer.children()))

    plain, full = build(blocks=2), build(blocks=2, batchnorm=True, dropout=0.3)
    assert (kinds(plain.get_submodule("block1")), kinds(plain.head)) == ("crcrp", "drd")
    assert (kinds(full.get_submodule("block2")), kinds(full.head)) == ("crbcrbpx", "drbxd")
    assert {layer.p for layer in layers(full).values() if isinstance(layer, nn.Dropout)} == {0.3}
    assert list(full.blocks()) == ["block1", "block2", "head"]


@pytest.mark.parametrize("blocks", [0, 4, "two"])
def test_another_number_of_blocks_is_refused(blocks: object) -> None:
    with pytest.raises(RecipeError, match=r"has no .* blocks.\n.*1, 2 or 3"):
        build(blocks=blocks)


def test_one_block_is_the_plain_rendering_of_its_description() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS["vgg_blocks"](4, channels=3, size=10, width=0.25, blocks=1).eval()
        pixels = torch.randint(0, 256, (2, 10, 10, 3), dtype=torch.uint8)
    state, f = model.state_dict(), nn.functional
    x = (pixels / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    x = x.permute(0, 3, 1, 2)
    for number in (1, 2):
        x = f.relu(f.conv2d(x, state[f"block1.conv{number}.weight"], state[f"block1.conv{number}.bias"], padding=1))
    x = f.max_pool2d(x, 2).flatten(1)
    x = f.relu(f.linear(x, state["head.dense.weight"], state["head.dense.bias"]))
    expected = f.linear(x, state["head.last.weight"], state["head.last.bias"])
    torch.testing.assert_close(model(pixels), expected, rtol=1e-4, atol=1e-5)

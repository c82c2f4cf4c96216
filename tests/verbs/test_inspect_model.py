from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lightmeter.errors import RecipeError, UsageError
from lightmeter.models import MODELS
from lightmeter.verbs.inspect import is_place
from lightmeter.verbs.inspect_model import inspect_model, rows

OWN = """
import torch
from torch import nn
from lightmeter.models.base import Model

class Own(Model):
    def __init__(self, num_classes, *, channels, size, width=1.0, side=4):
        super().__init__(num_classes, channels=channels, size=size)
        self.side = torch.linspace(1, side, 3)[2].item()  # no number where nothing is allocated
        self.head = nn.Linear(channels, num_classes)

    def features(self, pixels):
        x = pixels.float().mean(dim=(1, 2))
        return x + 1 if x.sum().item() > 0 else x

    def blocks(self):
        return {"head": self.head}
"""


def test_the_document_adds_up() -> None:
    found = inspect_model("alexnet32", classes=200, size=32)
    json.dumps(found, allow_nan=False)
    assert (found["model"], found["classes"], found["size"], found["channels"]) == ("alexnet32", 200, 32, 3)
    assert (found["total"], found["trainable"], found["non_trainable"]) == (22_370_760, 22_369_544, 1_216)
    blocks = found["blocks"]
    assert [block["name"] for block in blocks] == ["block1", "block2", "block3", "head"]
    assert sum(block["parameters"] for block in blocks) == found["total"]
    assert sum(block["trainable_parameters"] for block in blocks) == found["trainable"]
    for block in blocks:
        assert sum(layer["parameters"] for layer in block["layers"]) == block["parameters"]
    first = {"name": "block1.conv", "type": "Conv2d", "shape": [16, 16, 96], "parameters": 2_688, "trainable": True}
    assert blocks[0]["layers"][0] == {"number": 1, **first}
    numbers = [layer["number"] for block in blocks for layer in block["layers"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_is_frozen_is_shown() -> None:
    found = inspect_model("compact_cnn", classes=200, freeze=("block1", "-8"), settings={"hidden": "1024"})
    trained = [layer["name"] for block in found["blocks"] for layer in block["layers"] if layer["trainable"]]
    assert trained == ["block3.norm2", "head.0", "head.3"]
    assert [block["trainable"] for block in found["blocks"]] == [False, False, True, True]
    assert found["trainable"] == 2 * 128 + 730_312
    assert found["trainable"] + found["non_trainable"] == found["total"]
    shown = {layer: trained for _, _, layer, _, _, _, trained in rows(found)}
    assert (shown["block3.norm2"], shown["block3.pool"], shown["block1.conv1"]) == ("yes", "", "no")


@pytest.mark.parametrize("name", ["compact_cnn", "mobilenet_v2", "resnet18"])
def test_the_numbers_are_those_that_freezing_counts(name: str) -> None:
    for count in (1, 7, 20):
        for number, *_, parameters, trained in rows(inspect_model(name, freeze=(str(count),))):
            assert not parameters or trained == ("no" if number <= count else "yes")


def test_a_row_has_everything_that_is_asked_of_it() -> None:
    assert rows(inspect_model("tiny_cnn", classes=200))[1:3] == [
        (2, "block1", "block1.relu1", "ReLU", "32 x 32 x 16", 0, ""),
        (3, "block1", "block1.norm1", "BatchNorm2d", "32 x 32 x 16", 64, "yes"),
    ]


@pytest.mark.parametrize(
    "settings", [{"width": "0.5", "blocks": "1"}, {"model.width": "0.5", "model.options.blocks": "1"}]
)
def test_settings_are_the_width_and_options(settings: dict[str, str]) -> None:
    found = inspect_model("vgg_blocks", settings=settings)
    assert [block["name"] for block in found["blocks"]] == ["block1", "head"]
    assert found["blocks"][0]["layers"][0]["shape"] == [32, 32, 16]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_size_left_out_is_32_or_the_smallest(name: str) -> None:
    found = inspect_model(name)
    assert found["size"] == max(32, MODELS[name](2, channels=3, size=224, width=0.1).minimum_size)


def test_an_unknown_model_lists_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"(?s)'vgg17' is neither.*alexnet32, compact_cnn.*did you mean 'vgg1[69]'"):
        inspect_model("vgg17")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("inception_v3", {"size": 74}, r"74 pixels.\n.*at least 75"),
        ("compact_cnn", {"freeze": ("28",)}, r"has 27 layers.\n.*block1, block2, block3, head"),
        ("compact_cnn", {"freeze": ("-28",)}, "has 27 layers"),
        ("compact_cnn", {"freeze": ("block4",)}, r"no block or layer 'block4'.*\n.*block1, block2, block3, head"),
        ("vgg16", {"settings": {"hidden": "many"}}, "cannot be built with hidden='many'"),
        ("mobilenet_v2", {"settings": {"hidden": "-3"}}, "cannot be built with hidden=-3"),
        ("vgg16", {"settings": {"hiden": "3"}}, r"no option 'hiden'.\n.*hidden"),
        ("vgg16", {"settings": {"width": "0"}}, "width: greater than 0"),
        ("vgg16", {"settings": {"hidden": "[1]"}}, "options.hidden"),
        ("vgg16", {"channels": 2}, "1 .grey. or 3 .RGB."),
        ("no.such:model", {}, "could not be imported"),
    ],
)
def test_what_a_model_does_not_take_is_refused(name: str, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        inspect_model(name, **arguments)  # type: ignore[arg-type]


def test_a_model_of_ones_own_is_built_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_inspected.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    before = torch.random.get_rng_state()
    found = inspect_model("own_inspected:Own", channels=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert rows(found) == [(1, "head", "head", "Linear", "10", 20, "yes")]


def test_names_and_places_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet18").mkdir()
    assert [is_place(text) for text in ("resnet18", ".", "runs/absent", str(tmp_path))] == [True] * 4
    assert [is_place(text) for text in ("resnet50", "timm:a/b", "own.models:tiny")] == [False] * 3

"""The table of a model's layers, and how values are counted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightmeter.models import MODELS
from lightmeter.models.base import Model, Normalise, freeze
from lightmeter.models.table import Counts, count, layer_table

PAGE = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)`([^|]*)\| (\d+) \|(.*)\|$", re.MULTILINE)


class _Small(Model):
    """One of each: a filter, a norm, a parameter that lies beside the layers, a layer used twice, one never used."""

    def __init__(self) -> None:
        super().__init__(3, channels=1, size=9)
        self.normalise = Normalise.imagenet(1)
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4))
        self.scale = nn.ParameterDict({"gain": nn.Parameter(torch.ones(4))})
        self.act = nn.ReLU()
        self.unused = nn.Linear(2, 2)
        self.head = nn.Linear(4, 3)

    def features(self, pixels: Tensor) -> Tensor:
        """Means of the activated map, scaled."""
        x = self.act(self.act(self.body(self.normalise(pixels)))).mean(dim=(2, 3))
        return x * self.scale["gain"]

    def blocks(self) -> dict[str, nn.Module]:
        """body, rest, head."""
        return {"body": self.body, "rest": nn.ModuleList([self.scale, self.unused]), "head": self.head}


def test_a_table_lists_layers_shapes_values_and_blocks() -> None:
    table = layer_table(_Small())
    assert [(row.name, row.kind, row.shape, row.parameters, row.trainable, row.block) for row in table.rows] == [
        ("body.0", "Conv2d", (7, 7, 4), 36, True, "body"),
        ("body.1", "BatchNorm2d", (7, 7, 4), 16, True, "body"),
        ("scale", "ParameterDict", (), 4, True, "rest"),
        ("act", "ReLU", (7, 7, 4), 0, False, "rest"),
        ("unused", "Linear", (), 6, True, "rest"),
        ("head", "Linear", (3,), 15, True, "head"),
    ]
    assert (table.total, table.trainable, table.non_trainable) == (77, 69, 8)
    assert {name: len(rows) for name, rows in table.blocks().items()} == {"body": 2, "rest": 3, "head": 1}


def test_what_is_frozen_is_not_trainable() -> None:
    model = _Small()
    freeze(model, ("body.1",))
    table = layer_table(model)
    assert [row.name for row in table.rows if row.trainable] == ["body.0", "scale", "unused", "head"]
    assert table.counts == count(model) == Counts(77, 61)
    assert table.rows[1].counts == Counts(16, 0)


def test_a_shared_parameter_counts_once() -> None:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    assert count(nn.Sequential(first, second)) == Counts(35, 35)


def test_the_model_stays_as_it_was() -> None:
    model = MODELS["compact_cnn"](3, channels=3, size=32, width=0.25).train()
    model.get_submodule("block1").eval()
    modes = {name: part.training for name, part in model.named_modules()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_table(model)
    assert {name: part.training for name, part in model.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_rows_of_every_model_add_up(name: str) -> None:
    with torch.device("meta"):
        model = MODELS[name](7, channels=3, size=96, width=0.5)
    table = layer_table(model)
    assert sum(row.parameters for row in table.rows) == table.total
    assert sum(row.counts.trainable for row in table.rows) == table.trainable
    assert sum(parameter.numel() for parameter in model.parameters()) <= table.total
    assert all(row.shape for row in table.rows)
    assert list(table.blocks()) == list(model.blocks())
    assert table.rows[-1].shape == (7,)


def test_shapes_are_those_of_a_real_pass() -> None:
    model = MODELS["alexnet32"](3, channels=1, size=32, width=0.1).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, part in model.named_modules():
        part.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    model(torch.zeros(1, 32, 32, 1, dtype=torch.uint8))
    for row in layer_table(model).rows:
        assert row.shape[-1:] + row.shape[:-1] == shapes[row.name]


@pytest.mark.parametrize(("name", "words", "smallest", "cells"), ROW.findall(PAGE))
def test_the_guide_says_what_is_counted(name: str, words: str, smallest: str, cells: str) -> None:
    """Rows of docs/architectures.md: with its head for so many classes; or without, and the running statistics."""
    options = {key: json.loads(value) for key, value in re.findall(r"`(\w+)=(\w+)`", words)}
    numbers = [int(cell.replace(",", "")) for cell in cells.split("|") if re.fullmatch(r" [\d,]+ ", cell)]
    whole = len(numbers) == 4
    published = {"stem": "imagenet"} if name.startswith("resnet") else {}
    with torch.device("meta"):
        size = max(32, int(smallest))
        model = MODELS[name](numbers[0] if whole else 10, channels=3, size=size, **options, **published)
    counts, head = count(model), count(model.head)
    assert model.minimum_size == int(smallest)
    if whole:
        assert numbers[1:] == [counts.total, counts.trainable, counts.non_trainable]
    else:
        trained = [counts.trainable - head.trainable] if "any" in cells else []
        assert numbers == [counts.total - head.total, *trained, counts.non_trainable]


def test_the_guide_names_every_model() -> None:
    assert {name for name, *_ in ROW.findall(PAGE)} == set(MODELS)

"""Parameter groups add up, and each carries what its parameters are to be trained with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.base import freeze
from lightmeter.nouns.recipe import Optimizer
from lightmeter.optim import build_optimizer, param_groups, set_lr

CHOICE = Optimizer(name="sgd", lr=0.1, bias_lr=0.2, head_lr=0.3, weight_decay=0.01)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_groups_add_up_to_the_trainable_parameters(name: str) -> None:
    model = MODELS[name](5, channels=3, size=80, width=0.25)
    groups = {group["name"]: group for group in param_groups(model, CHOICE)}
    grouped = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert {parameter.ndim for parameter in groups["matrix"]["params"]} <= {2, 4}
    assert {parameter.ndim for parameter in groups["bias"]["params"]} == {1}
    matrices = [parameter for parameter in model.head.parameters() if parameter.ndim == 2]
    assert [id(parameter) for parameter in groups["head"]["params"]] == [id(matrix) for matrix in matrices]


def test_each_group_has_its_rate_and_only_matrices_decay() -> None:
    model = MODELS["resnet18"](5, channels=3, size=32, width=0.125)
    found = [(g["name"], g["lr"], g["peak_lr"], g["weight_decay"]) for g in param_groups(model, CHOICE)]
    assert found == [("matrix", 0.1, 0.1, 0.01), ("bias", 0.2, 0.2, 0.0), ("head", 0.3, 0.3, 0.01)]


def test_layer_decay_lowers_the_rates_block_by_block_from_the_head() -> None:
    model = MODELS["resnet18"](5, channels=3, size=32, width=0.125)
    groups = param_groups(model, CHOICE.model_copy(update={"layer_decay": 0.5}))
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    depths = {"fc.weight": 0.3, "fc.bias": 0.2, "layer4.0.conv1.weight": 0.05, "layer1.0.bn1.bias": 0.2 / 16}
    assert {name: rates[id(model.get_parameter(name))] for name in depths} == pytest.approx(depths)
    assert sorted(rates) == sorted(id(parameter) for parameter in model.parameters())


def test_frozen_parameters_are_left_out() -> None:
    model = MODELS["resnet18"](5, channels=3, size=32, width=0.125)
    freeze(model, ("all",))
    groups = {group["name"]: group["params"] for group in param_groups(model, CHOICE)}
    assert list(groups) == ["bias", "head"]
    assert groups["bias"][0] is model.head.bias
    assert groups["head"][0] is model.head.weight


def test_a_head_alone_has_groups_too() -> None:
    head = nn.Linear(8, 3)
    groups = {group["name"]: group["params"] for group in param_groups(head, CHOICE)}
    assert groups["head"][0] is head.weight
    assert groups["bias"][0] is head.bias


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(RecipeError, match="Every parameter of the model is frozen"):
        param_groups(nn.Linear(8, 3).requires_grad_(False), CHOICE)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_rates_are_scaled_from_their_peaks(name: str) -> None:
    model = MODELS["resnet18"](5, channels=3, size=32, width=0.125)
    optimizers = build_optimizer(model, CHOICE.model_copy(update={"name": name}))
    for factor in (0.5, 0.0, 0.25):
        set_lr(optimizers, factor)
        rates = {group["name"]: group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
        assert rates == {"matrix": factor * 0.1, "bias": factor * 0.2, "head": factor * 0.3}


def test_muon_moves_filters_and_sgd_the_rest() -> None:
    model = MODELS["resnet18"](5, channels=3, size=32, width=0.125)
    optimizers = build_optimizer(model, CHOICE.model_copy(update={"name": "muon"}))
    names = [[group["name"] for group in optimizer.param_groups] for optimizer in optimizers]
    assert names == [["matrix"], ["bias", "head"]]
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["Muon", "DecoupledSGD"]
    momenta = [optimizer.param_groups[0]["momentum"] for optimizer in optimizers]
    assert momenta == [CHOICE.muon_momentum, CHOICE.momentum]


def test_muon_on_a_head_alone_is_sgd() -> None:
    (optimizer,) = build_optimizer(nn.Linear(8, 3), CHOICE.model_copy(update={"name": "muon"}))
    assert isinstance(optimizer, torch.optim.SGD)

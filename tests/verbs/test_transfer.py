"""What a budget leaves time for where a trained backbone is given."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightmeter.errors import BudgetError
from lightmeter.models import MODELS
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import ModelChoice, Recipe
from lightmeter.recipes import RECIPES, Facts
from lightmeter.verbs import transfer
from lightmeter.verbs.choose_extraction import Extraction
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.measurement import Measurement
from lightmeter.verbs.plan import Plan

RATE, IMAGES, SCORED = 100.0, 10_000, 100_000
"""So that features take 100 s, and scoring 1,000 s for each view."""


def probe(epochs: float) -> Recipe:
    facts = Facts(IMAGES, 4, Preprocess(size=32, channels=3), mirror=True, seed=0)
    return RECIPES["probe"](
        facts, epochs=epochs, model=ModelChoice(name="mobilenet_v2", width=0.25), start="weights@0123456789abcdef"
    )


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch, budget: float, *, views_asked_for: bool = False) -> Plan:
    plain = Execution("cpu", "float32", "channels_last", 16, 1)
    found = Extraction(plain, [Measurement("plain", RATE, 0.0, True)])
    monkeypatch.setattr(transfer, "choose_extraction", lambda *_, **__: found)
    torch.manual_seed(0)
    weights = MODELS["mobilenet_v2"](4, channels=3, size=32, width=0.25).state_dict()
    path = folder / "weights.safetensors"
    save_file({name: tensor for name, tensor in weights.items() if "classifier" not in name}, path)
    return transfer.plan_transfer(
        {"probe": probe},
        path,
        torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8),
        torch.arange(8) % 4,
        lambda recipe: pytest.fail("no step is tried where the head alone is trained"),
        IMAGES,
        num_classes=4,
        scored=SCORED,
        clock=Clock(time.monotonic(), budget),
        epochs=None,
        views_asked_for=views_asked_for,
    )


@pytest.mark.parametrize(("budget", "views"), [(2600.0, 2), (1600.0, 1)])
def test_a_second_view_is_scored_where_there_is_time_for_it(
    budget: float, views: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(tmp_path, monkeypatch, budget)
    assert plan.recipe.views == views
    assert plan.train_until is not None
    assert IMAGES / RATE + transfer.HEAD_SECONDS < plan.train_until < budget - views * SCORED / RATE
    assert any("second view" in sentence for sentence in plan.sentences) == (views == 1)


def test_views_that_the_user_set_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetError, match="features"):
        planned(tmp_path, monkeypatch, 1600.0, views_asked_for=True)


def test_a_budget_in_which_nothing_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BudgetError, match="features"):
        planned(tmp_path, monkeypatch, 1100.0)


def test_the_budget_that_a_refusal_names_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "HEAD_SECONDS", 500.0)
    with pytest.raises(BudgetError) as refused:
        planned(tmp_path, monkeypatch, 700.0)
    told = re.search(r"at least (\d+) s", str(refused.value))
    assert told is not None
    assert planned(tmp_path, monkeypatch, float(told[1])).recipe.views == 1


def test_a_head_is_left_time_to_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, monkeypatch, 2600.0)
    assert plan.train_until is not None
    kept = 2600.0 - plan.train_until  # for what comes after
    exactly = kept + IMAGES / RATE
    monkeypatch.setattr(transfer, "HEAD_SECONDS", 500.0)
    assert planned(tmp_path, monkeypatch, exactly + 600.0).recipe.views == 2
    assert planned(tmp_path, monkeypatch, exactly + 400.0).recipe.views == 1


@pytest.mark.parametrize(("n", "views"), [(399, 2), (400, 1)])
def test_mirror_images_are_features_of_few_pictures_alone(n: int, views: int) -> None:
    for name in ("probe", "finetune"):
        facts = Facts(n, 4, Preprocess(size=32, channels=3), mirror=True, seed=0)
        made = RECIPES[name](facts, epochs=1.0, model=ModelChoice(name="mobilenet_v2"), start="weights@0")
        assert (made.views_for_features, made.views) == (views, 2)
        unsafe = RECIPES[name](
            Facts(n, 4, facts.preprocess, mirror=False, seed=0), epochs=1.0, model=made.model, start="weights@0"
        )
        assert (unsafe.views_for_features, unsafe.views) == (1, 1)

"""What an arm's seconds leave time for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes import Facts
from lightmeter.studies import measured as module
from lightmeter.studies.base import Arm
from lightmeter.studies.measured import Measured
from lightmeter.studies.pictures import Materials
from lightmeter.verbs.head import _identity
from tests.studies.toy import DIGITS, small


def test_a_head_that_is_trained_first_takes_of_its_arms_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, split = Materials().data(DIGITS, 0)
    images = len(split.train) + len(split.val)
    facts = Facts(len(split.train), 10, data.pack.preprocess, False, 0)
    monkeypatch.setattr(module, "training_rate", lambda *given, **options: 1000.0)
    monkeypatch.setattr(module, "inference_rate", lambda *given, **options: images / 4.0)  # 4 s for all features

    def epochs(probe: float) -> float:
        def make(facts: Facts, epochs: float) -> Recipe:
            return small()(facts, epochs).model_copy(update={"probe_epochs": probe})

        arm = Arm("timed", "ours", DIGITS, make, seconds=10.0)
        return Measured(tmp_path / f"{probe}.json", "smoke").epochs(arm, make, facts, data, "timed")

    assert epochs(5.0) / epochs(0.0) == pytest.approx(0.6, abs=0.01)


def test_features_of_random_weights_are_those_of_their_seed() -> None:
    data, _ = Materials().data(DIGITS, 0)
    recipes = [small()(Facts(240, 10, data.pack.preprocess, False, seed), 1.0) for seed in (0, 1)]
    assert _identity(recipes[0]) != _identity(recipes[1])
    trained = [recipe.model_copy(update={"start": "weights:abc"}) for recipe in recipes]
    assert _identity(trained[0]) == _identity(trained[1]) == "weights:abc"

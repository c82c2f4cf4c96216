"""Cached features, and a head that is folded onto them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.progress import SILENT
from lightmeter.nouns.recipe import AugmentChoice, ModelChoice, Recipe
from lightmeter.nouns.split import Learning
from lightmeter.recipes import RECIPES, Facts
from lightmeter.sources import open_source
from lightmeter.verbs.data import Data
from lightmeter.verbs.features import features, fold, mirrored, plain, standardise
from lightmeter.verbs.head import augmented_views, feature_batches
from lightmeter.verbs.pack import pack
from lightmeter.verbs.plan import Plan
from tests.verbs.learning import PLAIN

BOTH = {"plain": plain, "mirrored": mirrored}


def test_features_are_the_models_under_each_view_and_come_from_the_cache_again(tmp_path: Path) -> None:
    dataset = open_source("digits")
    packed = pack(dataset, Preprocess(size=32, channels=3), cache=cache_folder())
    torch.manual_seed(0)
    model = MODELS["mobilenet_v2"](10, channels=3, size=32, width=0.25)
    rows = np.arange(40)[::-1].copy()
    found = features(model, packed, rows, PLAIN, BOTH, start="none@0", cache=tmp_path)
    pixels = torch.from_numpy(packed.pixels[rows])
    model.eval()
    with torch.no_grad():
        for view, some in zip(found, (pixels, pixels.flip(2)), strict=True):
            torch.testing.assert_close(view, model.features(some), atol=1e-3, rtol=1e-3)
    kept = list((tmp_path / "features").iterdir())
    assert len(kept) == 1
    other = MODELS["mobilenet_v2"](10, channels=3, size=32, width=0.25)  # the cache, not this model, is asked
    again = features(other, packed, rows, PLAIN, BOTH, start="none@0", cache=tmp_path)
    assert torch.equal(found, again)
    features(other, packed, rows, PLAIN, BOTH, start="other@0", cache=tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 2
    with torch.no_grad():
        other.get_submodule("features.normalise").std.mul_(2)  # type: ignore[operator]
    features(other, packed, rows, PLAIN, BOTH, start="none@0", cache=tmp_path)  # sees other pixels
    assert len(list((tmp_path / "features").iterdir())) == 3
    kept[0].write_bytes(b"damaged")
    torch.testing.assert_close(
        features(model, packed, rows, PLAIN, BOTH, start="none@0", cache=tmp_path), found, atol=1e-3, rtol=1e-3
    )


def digits_data() -> Data:
    dataset = open_source("digits")
    packed = pack(dataset, Preprocess(size=32, channels=3), cache=cache_folder())
    learning = Learning(dataset.ids[:48], dataset.ids[48:64])
    return Data(dataset, packed, learning, np.arange(48), np.arange(48, 64))


def views_recipe(augment: tuple[str, ...], views: int) -> Recipe:
    facts = Facts(48, 10, Preprocess(size=32, channels=3), mirror=True, seed=0)
    made = RECIPES["probe"](facts, epochs=1.0, model=ModelChoice(name="mobilenet_v2", width=0.25), start="none@0")
    return made.model_copy(
        update={"augment": tuple(AugmentChoice(name=name) for name in augment), "feature_views": views}
    )


def test_augmented_views_are_drawn_once_and_differ_from_each_other() -> None:
    data = digits_data()
    torch.manual_seed(0)
    model = MODELS["mobilenet_v2"](10, channels=3, size=32, width=0.25)
    recipe = views_recipe(("shift",), 2)
    plan = Plan(recipe, PLAIN, None, False)
    batches, (mean, deviation) = feature_batches(model, data, plan, SILENT)
    assert batches.features.shape[:2] == (4, 48)  # plain, mirrored, two shifted
    again, _ = feature_batches(model, data, plan, SILENT)
    assert torch.equal(batches.features, again.features)
    views = augmented_views(data, recipe)
    pixels = torch.from_numpy(np.array(data.pack.pixels[:32]))
    first, second = (view(np.arange(32), pixels) for view in views.values())
    assert not torch.equal(first, second)
    with torch.no_grad():
        expected = (model.eval().features(first) - mean) / deviation
    torch.testing.assert_close(batches.features[2, :32], expected, atol=1e-2, rtol=1e-2)
    plain_alone, _ = feature_batches(model, data, replace(plan, recipe=views_recipe((), 0)), SILENT)
    assert plain_alone.features.shape[:2] == (2, 48)


@pytest.mark.parametrize("augment", [(), ("shift", "mixup")])
def test_augmented_views_need_augmentations_of_single_pictures(augment: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match="feature_views=3"):
        augmented_views(digits_data(), views_recipe(augment, 3))


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(7, 4),
        nn.Linear(7, 4, bias=False),
        nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 4)).eval(),
    ],
    ids=["linear", "without bias", "hidden"],
)
def test_a_folded_head_reads_plain_features(head: nn.Module) -> None:
    plain = torch.randn(2, 50, 7) * 3 + 2
    plain[..., 6] = 1.0  # a constant feature
    mean, deviation = standardise(plain, head)
    expected = head((plain - mean) / deviation)
    fold(head, mean, deviation)
    torch.testing.assert_close(head(plain), expected, atol=1e-4, rtol=1e-4)

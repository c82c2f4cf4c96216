"""Recipes: keys, settings laid over them, errors that name the field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.errors import RecipeError
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import ModelChoice, Optimizer, Recipe

RECIPE = Recipe(
    model=ModelChoice(name="whitened"),
    preprocess=Preprocess(size=8, channels=1),
    optimizer=Optimizer(name="muon", lr=0.1, bias_lr=1.0, head_lr=1.0),
    epochs=3.0,
    batch_size=16,
)


def test_equal_recipes_have_equal_keys_and_others_do_not() -> None:
    assert Recipe.parse(RECIPE.document()).key() == RECIPE.key()
    assert RECIPE.override({"seed": "1"}).key() != RECIPE.key()
    assert RECIPE.override({"model.width": "2"}).key() != RECIPE.key()


@given(st.integers(0, 10**6), st.floats(0.001, 100), st.integers(1, 4096))
def test_a_recipe_survives_being_written_and_read(seed: int, epochs: float, batch_size: int) -> None:
    made = RECIPE.model_copy(update={"seed": seed, "epochs": epochs, "batch_size": batch_size})
    assert Recipe.parse(made.document()) == made


def test_settings_are_laid_over_nested_fields() -> None:
    made = RECIPE.override({"optimizer.lr": "0.25", "model.name": "resnet18", "model.options": '{"stem": "small"}'})
    assert made.optimizer.lr == 0.25
    assert made.model.name == "resnet18"
    assert made.model.options == {"stem": "small"}


def test_an_option_can_be_set_alone() -> None:
    made = RECIPE.override({"model.options.stem": "small", "model.options.zero_init": "true"})
    assert made.model.options == {"stem": "small", "zero_init": True}
    assert made.override({"model.options.stem": "imagenet"}).model.options["stem"] == "imagenet"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer.rate": "1"}, "no field 'rate'"),
        ({"optimizer.options.rate": "1"}, "no field 'options'"),
        ({"model.options.stem.size": "1"}, "no field 'stem'"),
        ({"optimiser.lr": "1"}, "no field 'optimiser'"),
        ({"epochs.more": "1"}, "no field 'more'"),
        ({"optimizer.lr": "-1"}, "optimizer.lr"),
        ({"batch_size": "many"}, "batch_size"),
        ({"views": "3"}, "views"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        RECIPE.override(settings)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(RecipeError, match="colour"):
        Recipe.parse({**RECIPE.document(), "colour": "red"})


def test_a_part_is_added_to_a_list() -> None:
    made = RECIPE.override({"augment+": "sharpness"})
    assert [choice.name for choice in made.augment] == [*(choice.name for choice in RECIPE.augment), "sharpness"]
    more = made.override({"augment+": '{"name": "erase", "options": {"probability": 0.5}}'})
    assert more.augment[-1].options == {"probability": 0.5}
    with pytest.raises(RecipeError, match="is no list"):
        RECIPE.override({"epochs+": "3"})


@pytest.mark.parametrize(("views", "mirrored"), [(1, False), (2, True)])
def test_a_recipe_from_before_mirror_images_had_a_field_means_what_it_did(views: int, mirrored: bool) -> None:
    old = RECIPE.model_copy(update={"views": views}).model_dump(mode="json")
    del old["feature_mirror"]
    made = Recipe.parse(old)
    assert made.feature_mirror == mirrored
    assert made.views_for_features == 1 + mirrored
    assert made.document() == old  # nor does its key change
    assert made.override({"views": "1"}).feature_mirror is False


def test_mirror_images_are_set_apart_from_what_is_scored() -> None:
    made = RECIPE.override({"views": "2", "feature_mirror": "false"})
    assert (made.views, made.feature_mirror, made.views_for_features) == (2, False, 1)
    assert Recipe.parse(made.document()) == made
    assert made.key() != RECIPE.override({"views": "2"}).key()
    with pytest.raises(RecipeError, match="views"):
        RECIPE.override({"views": '"two"'})

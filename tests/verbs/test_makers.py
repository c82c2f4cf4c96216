from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightmeter.errors import RecipeError
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import ModelChoice
from lightmeter.recipes import RECIPES, TRANSFER, Facts
from lightmeter.verbs.makers import check_settings, recipe_makers
from lightmeter.verbs.request import Request
from lightmeter.verbs.start import Start
from lightmeter.verbs.train import train

FACTS = Facts(5000, 10, Preprocess(size=32, channels=3), True, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer.rate": "1"}, "no field 'rate'"),
        ({"optimizer.lr": "-1"}, r"optimizer\.lr = -1"),
        ({"optimizer.name": "adamm"}, "no optimizer called 'adamm'"),
        ({"schedule.name": "step"}, "no schedule called 'step'"),
        ({"augment+": "sharpnes"}, "no augmentation called 'sharpnes'"),
        ({"augment+": json.dumps({"name": "shift", "options": {"pixel": 2}})}, "no option 'pixel'"),
        ({"model.name": "resnet19"}, "no model called 'resnet19'"),
        ({"model.options.layers": "3"}, "no option 'layers'"),
        ({"preprocess.size": "3"}, "size"),
        ({"preprocess.colour": "3"}, "no field 'colour'"),
        ({"views": "3"}, "views = 3"),
        ({"optimzer.lr": "1"}, "did you mean 'optimizer'"),
        ({"model.name": "resnet_18"}, "did you mean 'resnet18'"),
        ({"augment": "flip"}, r"--set augment\+=NAME"),
        ({"schedule": "cosine"}, r"--set schedule\.FIELD=VALUE"),
        ({"preprocess": "64"}, "no field|FIELD=VALUE"),
        ({"freeze": "stage1"}, "a list"),
    ],
)
def test_what_no_pictures_could_mend_is_refused_before_they_are_opened(
    settings: dict[str, str], message: str, tmp_path: Path
) -> None:
    nothing = tmp_path / "no pictures here"
    with pytest.raises(RecipeError, match=message):
        train(str(nothing), epochs=1.0, settings=settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_so_are_layers_to_freeze_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="stage9"):
        train(str(tmp_path / "no pictures here"), epochs=1.0, freeze=("stage9",), out=tmp_path / "run")


@pytest.mark.parametrize("name", sorted(set(RECIPES) - set(TRANSFER)))
def test_every_recipe_from_scratch_passes_as_it_is_and_with_a_part_added(name: str) -> None:
    for settings in ({}, {"augment+": "sharpness"}, {"preprocess.size": "48"}, {"model.width": "0.25"}):
        request = Request(source="digits", recipe=name, settings=settings)
        check_settings(request, None)
        made = recipe_makers(request, FACTS, None)[name](2.0, width=0.5)
        assert made.epochs == 2.0
        assert made.model.width == float(settings.get("model.width", 0.5))
        assert ("sharpness" in [part.name for part in made.augment]) == ("augment+" in settings)


def test_what_is_frozen_is_laid_over_what_the_recipe_freezes() -> None:
    [make] = recipe_makers(Request(source="digits", freeze=("stage1",)), FACTS, None).values()
    assert make(1.0).freeze == ("stage1",)


@pytest.mark.parametrize("settings", [{"model.width": "0.5"}, {"model.name": "resnet18"}])
def test_a_network_that_the_start_weights_are_not_of_is_refused(settings: dict[str, str], tmp_path: Path) -> None:
    own = ModelChoice(name="mobilenet_v2")
    start = Start(tmp_path / "weights.safetensors", "weights@0123456789abcdef", own, None, ())
    with pytest.raises(RecipeError, match="the start weights are of mobilenet_v2, width 1"):
        check_settings(Request(source="digits", settings=settings), start)
    check_settings(Request(source="digits"), start)

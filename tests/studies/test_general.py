"""ablate and sweep: which arms a command line makes, what is refused before anything is trained, and a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightmeter.errors import LightmeterError, RecipeError, UsageError
from lightmeter.nouns.recipe import Recipe
from lightmeter.studies.base import Study
from lightmeter.studies.describe import recipe_of
from lightmeter.studies.engine import run_study
from lightmeter.studies.general import Asked, ablate, sweep
from lightmeter.studies.pictures import Materials
from tests.studies.toy import ARMS, SMOKE, toy


@pytest.fixture(scope="module")
def materials() -> Materials:
    return Materials()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The run of a small network on digits."""
    out = tmp_path_factory.mktemp("trained")
    run_study(toy(ARMS[1], seeds=(0,)), SMOKE, out=out)
    return str(out / "arms" / "base" / "seed-0")


def recipes(study: Study) -> dict[str, Recipe]:
    return {arm.name: recipe_of(arm) for arm in study.arms("full")}


ASKED = Asked("digits", epochs=1.0)


class TestAblate:
    def test_an_arm_for_each_value_that_changes_something(self, materials: Materials) -> None:
        factors = {"optimizer.momentum": ("0.85", "0.5"), "augment": ("none", "flip+shift"), "model.width": ("0.5",)}
        study = ablate(ASKED, factors, materials)
        found = recipes(study)
        assert list(found) == ["base", "momentum=0.5", "augment=none", "augment=flip+shift", "width=0.5"]
        assert study.pairs == tuple(("base", name) for name in list(found)[1:])
        assert found["momentum=0.5"] == found["base"].override({"optimizer.momentum": "0.5"})
        assert [choice.name for choice in found["augment=flip+shift"].augment] == ["flip", "shift"]
        assert found["augment=none"].augment == ()

    def test_a_grid_is_every_combination(self, materials: Materials) -> None:
        factors = {"batch_size": ("32", "64"), "views": ("1", "2")}
        found = recipes(ablate(ASKED, factors, materials, grid=True))
        assert {(recipe.batch_size, recipe.views) for name, recipe in found.items() if name != "base"} >= {
            (32, 1),
            (32, 2),
        }
        assert "batch_size=32,views=2" in found

    def test_names_stand_for_parts(self, materials: Materials) -> None:
        found = recipes(ablate(ASKED, {"model": ("resnet18",), "freeze": ("all",), "optimizer": ("sgd",)}, materials))
        assert found["model=resnet18"].model.name == "resnet18"
        assert found["freeze=all"].freeze == ("all",)
        assert found["optimizer=sgd"].optimizer.name == "sgd"

    def test_a_side_changes_the_canvases_too(self, materials: Materials) -> None:
        arms = ablate(ASKED, {"preprocess.size": ("12",)}, materials).arms("full")
        assert arms[1].pictures.size == recipe_of(arms[1]).preprocess.size == 12

    @pytest.mark.parametrize(
        ("factors", "words"),
        [
            ({}, "No factor"),
            ({"optimizer.rate": ("1",)}, "no field 'rate'"),
            ({"optimizer.lr": ("fast",)}, "optimizer.lr"),
            ({"augment": ("twirl",)}, "no augmentation 'twirl'"),
            ({"model": ("lenet",)}, "no model 'lenet'"),
            ({"freeze": ("block99",)}, "no block or layer 'block99'"),
            ({"freeze": ("999",)}, "layers"),
            ({"optimizer.name": ("muon",)}, "what the recipe has anyway"),
        ],
    )
    def test_a_mistake_is_told_before_anything_is_trained(
        self, factors: dict[str, tuple[str, ...]], words: str, materials: Materials
    ) -> None:
        with pytest.raises(LightmeterError, match=words):
            ablate(ASKED, factors, materials)

    def test_a_recipe_for_weights_needs_them(self, materials: Materials) -> None:
        with pytest.raises(RecipeError, match="without start weights"):
            ablate(Asked("digits", recipe="probe", epochs=1.0), {"views": ("1",)}, materials)


class TestSweep:
    def test_arms_go_from_the_head_to_everything(self, trained: str, materials: Materials) -> None:
        study = sweep(Asked("digits", start=trained, epochs=1.0), ("0", "all", "10", "-6"), materials)
        names = [arm.name for arm in study.arms("full")]
        assert names[0] == "freeze=all"
        assert names[-1] == "freeze=0"
        assert study.curve == tuple(names)
        assert recipes(study)["freeze=10"].freeze == ("10",)
        assert "parameters learn" in study.arms("full")[0].note

    def test_it_needs_weights_and_two_ways(self, trained: str, materials: Materials) -> None:
        with pytest.raises(UsageError, match="No start weights"):
            sweep(ASKED, ("0", "all"), materials)
        with pytest.raises(UsageError, match="1 ways of freezing"):
            sweep(Asked("digits", start=trained), ("all", "all"), materials)

    def test_too_large_a_number_lists_the_blocks(self, trained: str, materials: Materials) -> None:
        with pytest.raises(RecipeError, match=r"--freeze 999: .* has \d+ layers.*\n.*head"):
            sweep(Asked("digits", start=trained, epochs=1.0), ("0", "999"), materials)

    def test_it_ends_in_a_curve_and_its_knee(self, trained: str, materials: Materials, tmp_path: Path) -> None:
        study = sweep(Asked("digits", start=trained, epochs=1.0), ("0", "all"), materials)
        found = run_study(study, SMOKE, out=tmp_path, materials=materials).document
        costs = [arm["parameters"]["trainable"] for arm in found["arms"]]
        assert costs == sorted(costs)
        assert found["knee"]["name"] in ("freeze=all", "freeze=0")
        assert len(found["knee"]["steps"]) == 1

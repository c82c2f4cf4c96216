"""What every study does at the scale of tests: each arm is really trained, on small copies of the published sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightmeter.nouns.recipe import Recipe
from lightmeter.studies import STUDIES, Arm
from lightmeter.studies.engine import run_study
from lightmeter.studies.pictures import Materials
from tests.studies.sets import make


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("sets"))


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_is_trained_and_scored_on_all_its_test_pictures(
    name: str, sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTMETER_DATA", str(sets))
    monkeypatch.setenv("LIGHTMETER_CACHE", str(sets.parent / "cache"))
    study = STUDIES[name]()
    result = run_study(study, "smoke", out=tmp_path)
    assert result.document["complete"]
    arms = study.arms("smoke")
    for arm in arms:
        folder = tmp_path / "arms" / arm.name / "seed-0"
        failure = folder / "error.txt"
        assert (folder / "result.json").exists(), failure.read_text() if failure.exists() else arm.name
        found = json.loads((folder / "result.json").read_text())
        assert found["test"]["n"] <= arm.pictures.test_limit
        assert 0 <= found["test"]["accuracy"] <= 1
        recipe = Recipe.parse(json.loads((folder / "recipe.json").read_text())["recipe"])
        assert recipe.epochs == arm.epochs
        assert (recipe.start != "scratch") == bool(arm.start)
    for page in (result.page, result.markdown):
        text = page.read_text(encoding="utf-8")
        assert all(arm.name in text for arm in arms)
    assert len(result.document["verdicts"]) == len(study.pairs)


@pytest.mark.parametrize("name", STUDIES)
def test_no_arm_starts_from_one_that_learned_its_test_pictures(
    name: str, sets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTMETER_DATA", str(sets))
    monkeypatch.setenv("LIGHTMETER_CACHE", str(sets.parent / "cache"))
    materials = Materials()
    arms = {arm.name: arm for arm in STUDIES[name]().arms("smoke")}

    def learned(arm: Arm) -> set[tuple[str, str]]:
        """(source, id) of all that an arm and those before it learned from."""
        before = learned(arms[arm.start.removeprefix("arm:")]) if arm.start.startswith("arm:") else set()
        _, split = materials.data(arm.pictures, 0)
        return before | {(arm.pictures.source, id) for id in (*split.train, *split.val)}

    for arm in arms.values():
        _, split = materials.data(arm.pictures, 0)
        assert not learned(arm) & {(arm.pictures.source, id) for id in split.test}, arm.name

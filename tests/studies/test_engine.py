"""A study of the digits, really run: resumed to the same table, fair to its arms, not stopped by a failing one."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightmeter.errors import LightmeterError, StorageError, UsageError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.progress import Silent
from lightmeter.nouns.run import Run
from lightmeter.studies import engine
from lightmeter.studies.base import Arm
from lightmeter.studies.engine import open_study, run_study
from lightmeter.studies.pictures import Materials
from tests.studies.toy import ARMS, DIGITS, SMOKE, small, toy

TIMED = {"seconds", "seconds_per_epoch", "images_per_second", "cost", "tenth", "environment", "knee", "rows"}


def untimed(value: Any) -> Any:
    """A document without what a clock said."""
    if isinstance(value, dict):
        return {name: untimed(part) for name, part in value.items() if name not in TIMED}
    return [untimed(part) for part in value] if isinstance(value, list) else value


class _Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def heard() -> _Heard:
    """What the toy study says while it runs."""
    return _Heard()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, heard: _Heard) -> engine.StudyResult:
    """The toy study, run without a stop."""
    return run_study(toy(rows_every={"smoke": 1}), SMOKE, out=tmp_path_factory.mktemp("study"), progress=heard)


class TestWhole:
    def test_the_time_left_is_said_as_soon_as_an_arm_was_timed(self, whole: engine.StudyResult, heard: _Heard) -> None:
        turns = [line for line in heard.lines if " of 6: " in line]
        assert [line.split(",")[0] for line in turns] == [
            f"{place} of 6: {arm.name}" for place, arm in enumerate([*ARMS, *ARMS], start=1)
        ]
        assert "left" not in turns[0]  # nothing was timed, and nothing is guessed
        assert turns[2].endswith("of training left, and 2 that were not timed yet")
        assert all(line.endswith("of training left") for line in turns[3:])

    def test_every_arm_learned_for_its_epochs_with_every_seed(self, whole: engine.StudyResult) -> None:
        for arm in ARMS:
            for seed in (0, 1):
                run = Run(whole.folder / "arms" / arm.name / f"seed-{seed}")
                recipe = run.recipe
                assert (recipe.epochs, recipe.seed) == (arm.epochs, seed)
                assert len(run.epochs()) == arm.epochs
                assert not run.state.exists()
                assert not run.bundle.exists()

    def test_arms_share_the_split_of_their_seed(self, whole: engine.StudyResult) -> None:
        splits = {
            (arm.name, seed): (whole.folder / "arms" / arm.name / f"seed-{seed}" / "split.json").read_bytes()
            for arm in ARMS
            for seed in (0, 1)
        }
        assert len({splits[arm.name, 0] for arm in ARMS}) == 1
        assert len({splits[arm.name, 1] for arm in ARMS}) == 1

    def test_the_test_split_was_opened_once_by_the_study(self, whole: engine.StudyResult) -> None:
        for path in whole.folder.glob("arms/*/seed-*/ledger.jsonl"):
            (entry,) = [json.loads(line) for line in path.read_text().splitlines()]
            assert (entry["by"], entry["n"]) == ("study", 120)

    def test_an_arm_starts_from_the_weights_of_another_with_its_seed(self, whole: engine.StudyResult) -> None:
        from lightmeter.models.pretrained import identity

        for seed in (0, 1):
            weights = Run(whole.folder / "arms" / "base" / f"seed-{seed}").weights
            start = Run(whole.folder / "arms" / "tuned" / f"seed-{seed}").recipe.start
            assert start.rpartition("@")[2] == identity(weights).rpartition("@")[2]

    def test_the_numbers_are_those_of_the_evaluations(self, whole: engine.StudyResult) -> None:
        for entry in whole.document["arms"]:
            tests = [Evaluation.load(whole.folder / seed["run"] / "evaluation" / "test.npz") for seed in entry["seeds"]]
            assert entry["accuracy"]["mean"] == pytest.approx(sum(test.accuracy for test in tests) / 2, abs=1e-6)
            assert entry["gap"] == pytest.approx(entry["fit"] - entry["accuracy"]["mean"], abs=2e-6)
            assert (
                entry["parameters"]["total"] == entry["parameters"]["trainable"] + entry["parameters"]["non_trainable"]
            )

    def test_verdicts_and_published_figures_are_judged(self, whole: engine.StudyResult) -> None:
        verdicts = {(entry["first"], entry["second"]): entry["verdict"] for entry in whole.document["verdicts"]}
        assert verdicts["slow", "base"] == "better"
        assert whole.document["against"] == [{"name": "slow", "published": 0.5, "verdict": "below"}]
        assert whole.document["knee"]["name"] in ("base", "tuned")

    def test_rows_are_read_off_the_epochs(self, whole: engine.StudyResult) -> None:
        rows = whole.document["rows"]["base"]["rows"]
        records = [Run(whole.folder / "arms" / "base" / f"seed-{seed}").epochs() for seed in (0, 1)]
        assert [row["epoch"] for row in rows] == [1, 2, 3]
        for row in rows:
            mean = sum(epochs[row["epoch"] - 1]["val/accuracy"] for epochs in records) / 2
            assert row["val"] == pytest.approx(mean, abs=1e-6)
        assert rows[0]["seconds"] < rows[1]["seconds"] < rows[2]["seconds"]

    def test_both_pages_hold_all_of_it(self, whole: engine.StudyResult) -> None:
        html, text = whole.page.read_text(encoding="utf-8"), whole.markdown.read_text(encoding="utf-8")
        for page in (html, text):
            for words in ("slow", "base", "tuned", "Published", "50.0", "everything that matters", "better than slow"):
                assert words in page, words
            assert "Where more stops paying" in page
        assert html.count("<svg") == 2 + 2 + 2  # accuracies and cost, curves and rows of the arms of several epochs
        assert 'src="http' not in html
        assert "<script" not in html

    def test_running_it_again_trains_nothing(self, whole: engine.StudyResult) -> None:
        before = {path: path.stat().st_mtime_ns for path in whole.folder.glob("arms/*/*/result.json")}
        again = run_study(toy(rows_every={"smoke": 1}), SMOKE, out=whole.folder)
        assert {path: path.stat().st_mtime_ns for path in whole.folder.glob("arms/*/*/result.json")} == before
        assert again.document == whole.document
        assert open_study(whole.folder).document == whole.document

    def test_another_study_in_its_folder_is_refused(self, whole: engine.StudyResult) -> None:
        with pytest.raises(StorageError, match="holds the study toy at scale smoke"):
            run_study(toy(), "cpu", out=whole.folder)


class TestItsTrainings:
    """The folders below arms/ are runs, as far as a run without a bundle goes."""

    def test_they_can_be_compared_and_reported(self, whole: engine.StudyResult) -> None:
        from lightmeter.verbs.again import report, scored

        first, second = (whole.folder / "arms" / name / "seed-0" for name in ("base", "tuned"))
        assert scored(first, "test").ids == scored(second, "test").ids
        assert report(first).read_text(encoding="utf-8").count("<svg") > 3

    def test_what_needs_more_is_refused_in_words(self, whole: engine.StudyResult) -> None:
        from lightmeter.verbs.again import evaluate, export
        from lightmeter.verbs.train import train

        path = whole.folder / "arms" / "base" / "seed-0"
        with pytest.raises(LightmeterError, match="is a training of a study"):
            export(path)
        with pytest.raises(LightmeterError, match="is a training of a study"):
            train("digits", out=path, resume=True)
        with pytest.raises(LightmeterError):
            evaluate(path)


class _Stopping(Silent):
    """Presses Ctrl-C when the n-th line is said."""

    def __init__(self, at: int) -> None:
        self.at, self.said = at, 0

    def say(self, text: str) -> None:
        self.said += 1
        if self.said == self.at:
            signal.raise_signal(signal.SIGINT)


def test_a_study_that_was_stopped_gives_the_same_table(whole: engine.StudyResult, tmp_path: Path) -> None:
    study = toy(rows_every={"smoke": 1})
    for at in (2, 3, 4):  # an arm's first epoch; before and in the arms after it
        with pytest.raises(KeyboardInterrupt):
            run_study(study, SMOKE, out=tmp_path, progress=_Stopping(at))
    assert any(tmp_path.glob("arms/*/*/state"))
    found = run_study(study, SMOKE, out=tmp_path)
    assert untimed(found.document) == untimed(whole.document)
    for path in whole.folder.glob("arms/*/*/weights/best.safetensors"):
        assert (tmp_path / path.relative_to(whole.folder)).read_bytes() == path.read_bytes()


class TestFailing:
    @pytest.fixture
    def broken(self) -> tuple[Arm, ...]:
        slow, base, _ = ARMS
        wrong = replace(base, name="wrong", recipe=small(freeze=("nonsense",)))
        after = replace(slow, name="after", start="arm:wrong")
        return slow, wrong, after, base

    def test_the_others_go_on_and_reasons_are_kept(self, broken: tuple[Arm, ...], tmp_path: Path) -> None:
        found = run_study(toy(*broken, seeds=(0,)), SMOKE, out=tmp_path)
        states = {arm["name"]: arm["seeds"][0] for arm in found.document["arms"]}
        assert [states[arm.name]["state"] for arm in broken] == ["done", "failed", "skipped", "done"]
        assert "no block or layer 'nonsense'" in states["wrong"]["reason"]
        assert states["after"]["reason"] == "it needs wrong, which failed"
        assert found.document["complete"]
        verdict = found.document["verdicts"][0]
        assert verdict["verdict"] == "none"
        assert verdict["sentence"] == "wrong and slow cannot be compared: wrong did not finish."
        for page in (found.page, found.markdown):
            text = page.read_text(encoding="utf-8")
            assert "nonsense" in text
            assert "did not finish" in text

    def test_a_bug_in_one_arm_is_kept_with_its_traceback(self, tmp_path: Path) -> None:
        def buggy(facts: object, epochs: float) -> Any:
            raise ZeroDivisionError("ours")

        study = toy(replace(ARMS[0], name="bug", recipe=buggy), ARMS[0], seeds=(0,))
        found = run_study(study, SMOKE, out=tmp_path)
        assert found.document["arms"][0]["seeds"][0]["reason"] == "ZeroDivisionError: ours"
        assert "Traceback" in (tmp_path / "arms" / "bug" / "seed-0" / "error.txt").read_text()
        assert "accuracy" in found.document["arms"][1]

    def test_a_training_killed_before_its_request_is_begun_anew(self, tmp_path: Path) -> None:
        folder = tmp_path / "arms" / "slow" / "seed-0"
        Run.create(folder).write("recipe", {"key": "of nothing"})
        found = run_study(toy(ARMS[0], seeds=(0,)), SMOKE, out=tmp_path)
        assert found.document["complete"]
        assert found.document["arms"][0]["accuracy"]

    def test_what_was_mended_is_trained_by_the_next_call(self, broken: tuple[Arm, ...], tmp_path: Path) -> None:
        _, wrong, after, _ = broken
        run_study(toy(wrong, after, seeds=(0,)), SMOKE, out=tmp_path)
        mended = replace(wrong, recipe=small(lr=1e-3))
        found = run_study(toy(mended, after, seeds=(0,)), SMOKE, out=tmp_path)
        assert [arm["seeds"][0]["state"] for arm in found.document["arms"]] == ["done", "done"]

    def test_another_recipe_in_the_folder_of_an_arm_is_told(self, tmp_path: Path) -> None:
        run_study(toy(ARMS[0], seeds=(0,)), SMOKE, out=tmp_path)
        changed = replace(ARMS[0], recipe=small(lr=1e-4))
        found = run_study(toy(changed, seeds=(0,)), SMOKE, out=tmp_path)
        assert "holds a trial of another recipe" in found.document["arms"][0]["seeds"][0]["reason"]


class TestChoosing:
    def test_arms_bring_what_they_need(self, tmp_path: Path) -> None:
        found = run_study(toy(), SMOKE, out=tmp_path, only=("tuned",), seeds=(3,))
        assert [arm["name"] for arm in found.document["arms"]] == ["base", "tuned"]
        assert found.document["seeds"] == [3]

    def test_an_unknown_arm_is_a_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no arm 'fast'.*\n.*slow, base, tuned"):
            run_study(toy(), SMOKE, out=tmp_path, only=("fast",))

    def test_the_best_by_validation_is_taken_over(self, tmp_path: Path) -> None:
        slow, base, _ = ARMS
        chosen = Arm("chosen", "ours", DIGITS, slow.recipe, epochs=2.0, best_of=("slow", "base"))
        found = run_study(toy(slow, base, chosen, seeds=(0,)), SMOKE, out=tmp_path)
        vals = {arm["name"]: arm["val"] for arm in found.document["arms"]}
        assert vals["base"] > vals["slow"]
        taken = Run(tmp_path / "arms" / "chosen" / "seed-0").recipe
        assert taken.optimizer == Run(tmp_path / "arms" / "base" / "seed-0").recipe.optimizer
        assert taken.epochs == 2.0

    def test_seconds_become_epochs_once_and_for_every_seed(self, tmp_path: Path) -> None:
        timed = replace(ARMS[1], epochs=0.0, seconds=0.4)
        found = run_study(toy(timed, seeds=(0, 1)), SMOKE, out=tmp_path)
        assert found.document["complete"]
        runs = [Run(tmp_path / "arms" / "base" / f"seed-{seed}").recipe for seed in (0, 1)]
        kept = json.loads((tmp_path / "measured.json").read_text())["epochs"]["base"]
        assert kept == runs[0].epochs == runs[1].epochs

    def test_a_network_from_pictures_that_are_public_says_what_is_clean(self, tmp_path: Path) -> None:
        """The digits are known to be none of ImageNet's; weights that say they have seen it get a clean figure."""
        from safetensors.torch import load_file, save_file

        run_study(toy(ARMS[0], seeds=(0,)), SMOKE, out=tmp_path / "first")
        weights = load_file(tmp_path / "first" / "arms" / "slow" / "seed-0" / "weights" / "best.safetensors")
        note = {"format": 1, "seen": ["imagenet-1k/train"], "model": {"name": "whitened", "width": 0.25}}
        path = tmp_path / "seen.safetensors"
        save_file(weights, path, metadata={"lightmeter": json.dumps(note)})
        study = toy(replace(ARMS[1], start=str(path)), seeds=(0,))
        found = run_study(study, SMOKE, out=tmp_path / "second", materials=Materials())
        entry = found.document["arms"][0]
        assert entry["clean"]["n"] == 120
        assert entry["clean"]["accuracy"]["mean"] == entry["accuracy"]["mean"]
        assert "cannot have seen" in found.markdown.read_text(encoding="utf-8")

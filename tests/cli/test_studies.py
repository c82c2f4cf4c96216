"""study, ablate and sweep on the command line: one JSON line, going on, and every mistake told before any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightmeter.cli import main, studies
from lightmeter.cli.options import factors, numbers, words
from lightmeter.errors import UsageError
from lightmeter.studies import STUDIES
from tests.studies.toy import toy


def last(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


class TestValues:
    def test_lists_have_commas_outside_brackets(self) -> None:
        assert words("a, b,,c") == ("a", "b", "c")
        assert words('[{"name": "flip", "options": {}}],none') == ('[{"name": "flip", "options": {}}]', "none")

    def test_factors_are_fields_and_values(self) -> None:
        assert factors(["optimizer.lr=0.1,0.2", "views=1", "views=2"]) == {
            "optimizer.lr": ("0.1", "0.2"),
            "views": ("1", "2"),
        }
        with pytest.raises(UsageError, match="names no field"):
            factors(["optimizer.lr"])

    @pytest.mark.parametrize("text", ["", "a", "1,-2", "0.5"])
    def test_seeds_are_whole_numbers(self, text: str) -> None:
        with pytest.raises(UsageError, match="are no seeds"):
            numbers(text)

    def test_a_seed_twice_is_no_second_training(self) -> None:
        assert numbers("2,0") == (2, 0)
        with pytest.raises(UsageError, match="names a seed twice"):
            numbers("0,1,0")


class TestStudy:
    def test_without_a_name_they_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["study", "--json"]) == 0
        assert [entry["name"] for entry in last(capsys)["studies"]] == list(STUDIES)

    def test_describe_trains_nothing_and_needs_no_pictures(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["study", "alexnet", "--describe", "--json"]) == 0
        found = last(capsys)
        assert found["study"] == "alexnet"
        assert found["published"]
        (faithful,) = [arm for arm in found["arms"] if arm["name"] == "faithful"]
        counts = (faithful["total"], faithful["trainable"], faithful["non_trainable"])
        assert counts == (22_370_760, 22_369_544, 1_216)
        assert main(["study", "tiny-search", "--describe"]) == 0
        assert "chosen" in capsys.readouterr().out  # its counts are not known before the others are done

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["study", "alexnett"], "vgg-ablation"),
            (["study", "toy", "--scale", "huge"], "smoke, cpu or full"),
            (["study", "toy", "--arms", "quick"], "slow, base, tuned"),
            (["study", "toy", "--seeds", "one"], "--seeds 0,1,2"),
            (["study", "toy", "--source", "digits"], "epochs"),
            (["ablate", "digits"], "--factor"),
            (["ablate", "digits", "--factor", "views=1", "--budget", "1m", "--epochs", "2"], "one of them"),
            (["ablate", "digits", "--factor", "optimizer.rate=1"], "lr"),
            (["ablate", "digitz", "--factor", "views=1"], "did you mean 'digits'"),
            (["sweep", "digits"], "--start"),
            (["sweep", "digits", "--start", "nothing"], ".safetensors"),
        ],
    )
    def test_a_mistake_says_what_was_expected(
        self,
        arguments: list[str],
        expected: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(STUDIES, "toy", toy)
        monkeypatch.chdir(tmp_path)
        assert main(arguments) == 2
        shown = capsys.readouterr().err
        assert shown.startswith("Error: ") or "\nError: " in shown
        assert expected in shown
        assert not list(tmp_path.glob("runs/*/arms"))

    def test_it_runs_and_goes_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(STUDIES, "toy", toy)
        monkeypatch.chdir(tmp_path)
        command = ["study", "toy", "--scale", "smoke", "--seeds", "0", "--arms", "slow,base"]
        assert main([*command, "--json"]) == 0
        found = last(capsys)
        assert (found["study"], found["scale"], found["complete"]) == ("toy", "smoke", True)
        assert [arm["name"] for arm in found["arms"]] == ["slow", "base"]
        assert Path(found["page"]).resolve() == (tmp_path / "runs" / "study-toy-smoke" / "study.html").resolve()
        assert Path(found["markdown"]).is_file()
        assert found["verdicts"][0]["verdict"] in ("better", "worse", "not distinguishable")
        assert found["knee"]["name"] in ("slow", "base")
        assert main(command) == 0
        shown = capsys.readouterr()
        assert "Going on with the study in runs/study-toy-smoke" in shown.err
        assert "epoch 1" not in shown.err
        assert "base is better than slow" in shown.out

    def test_an_interrupt_says_how_to_go_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from lightmeter.studies import engine

        def interrupted(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(engine, "run_study", interrupted)
        monkeypatch.setitem(STUDIES, "toy", toy)
        monkeypatch.chdir(tmp_path)
        assert main(["study", "toy", "--json"]) == studies.INTERRUPTED
        shown = capsys.readouterr()
        assert "the same command goes on" in shown.err
        assert json.loads(shown.out)["error"]["study"] == "runs/study-toy-cpu"

    def test_any_pictures_may_take_the_place_of_a_studys_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(STUDIES, "toy", lambda: toy(seeds=(0,), any_source=True))
        monkeypatch.chdir(tmp_path)
        assert main(["study", "toy", "--scale", "smoke", "--source", "digits", "--arms", "slow", "--json"]) == 0
        found = last(capsys)
        assert found["arms"][0]["published"] is None
        assert found["page"].startswith("runs/study-toy-smoke-digits/")


def test_ablate_runs_in_a_folder_that_the_same_command_finds_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["ablate", "digits", "--factor", "model.width=0.25", "--epochs", "0.05", "--json"]
    assert main(command) == 0
    found = last(capsys)
    assert [arm["name"] for arm in found["arms"]] == ["base", "width=0.25"]
    assert [(entry["first"], entry["second"]) for entry in found["verdicts"]] == [("base", "width=0.25")]
    assert found["page"].startswith("runs/ablate-digits-")
    assert main(command) == 0
    assert last(capsys)["page"] == found["page"]
    assert len(list(tmp_path.glob("runs/*"))) == 1

"""The command line: values from text, one form for every mistake, one JSON line for programs, and a light start."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from lightmeter.cli import application, main, show, training
from lightmeter.cli.options import bad_policy, seconds, settings
from lightmeter.cli.progress import PlainProgress, RichProgress
from lightmeter.errors import GateError, UsageError
from lightmeter.verbs.export import write_bundle
from tests.bundles import card, net, picture


def photos(folder: Path, per_class: int = 6) -> Path:
    """A folder of two classes of small pictures, all different."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(("day", "night")):
        (folder / name).mkdir(parents=True)
        for index in range(per_class):
            pixels = generator.integers(0, 100, (20, 24, 3)) + 150 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


class TestValues:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("90s", 90), ("10m", 600), ("1h30m", 5400), ("600", 600), ("1.5h", 5400), ("2 min 5 s", 125), ("0.5", 0.5)],
    )
    def test_a_length_of_time_is_read(self, text: str, expected: float) -> None:
        assert seconds(text) == expected

    @pytest.mark.parametrize("text", ["", "soon", "10x", "-5s", "1.2.3s", "s", "30m1h", "inf", "nan"])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="no length of time"):
            seconds(text)

    @pytest.mark.parametrize("text", ["0", "0s", "0h0m"])
    def test_nothing_is_told_from_nonsense(self, text: str) -> None:
        with pytest.raises(UsageError, match="leaves no time"):
            seconds(text)

    @pytest.mark.parametrize(
        ("share", "text"),
        [(0.0, "0.0 %"), (1e-5, "< 0.1 %"), (0.0006, "0.1 %"), (0.99992, "> 99.9 %"), (1.0, "100.0 %")],
    )
    def test_a_probability_is_never_rounded_to_one_that_it_is_not(self, share: float, text: str) -> None:
        assert show.probability(share) == text

    def test_settings_are_fields_and_values(self) -> None:
        assert settings(["optimizer.lr=0.1", "model.options.note=a=b"]) == {
            "optimizer.lr": "0.1",
            "model.options.note": "a=b",
        }

    @pytest.mark.parametrize("pair", ["optimizer.lr", "=3", ""])
    def test_settings_without_field_or_value_are_refused(self, pair: str) -> None:
        with pytest.raises(UsageError, match="names no field"):
            settings([pair])

    def test_an_unknown_policy_is_refused(self) -> None:
        assert bad_policy("quarantine") == "quarantine"
        with pytest.raises(UsageError, match="error or quarantine"):
            bad_policy("ignore")


class TestMistakes:
    def test_a_picture_to_load_a_server_with_must_be_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bench-serve", "http://127.0.0.1:1", "--picture", "nowhere.jpg"]) == 2
        assert "nowhere.jpg cannot be read (No such file or directory)" in capsys.readouterr().err

    def test_a_server_that_answers_nothing_is_an_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["bench-serve", "http://127.0.0.1:1", "--rate", "20", "--seconds", "0.5"]) == 2
        assert "answers none of 20 requests a second: Connect" in capsys.readouterr().err

    def test_a_lightmeter_error_is_three_lines_and_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", "digitz"]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith("Error: There is no source 'digitz'.\nExpected: ")
        assert "To fix it: did you mean 'digits'?" in shown.err
        assert "Traceback" not in shown.err

    def test_with_json_it_is_the_last_line_of_standard_output_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", "digitz", "--json"]) == 2
        error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
        assert error["type"] == "SourceError"
        assert error["message"].startswith("There is no source 'digitz'.")
        assert error["fix"] == "did you mean 'digits'?"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["trian", "digits"], "Did you mean 'train'?"),
            (["train", "digits", "--bugdet", "3s"], "--budget"),
            (["train"], "Missing argument"),
            (["train", "digits", "--seed", "minus"], "--seed"),
            (["train", "digits", "--budget", "soon"], "no length of time"),
            (["train", "digits", "--on-bad", "skip"], "error or quarantine"),
            (["compare", "one"], "two or more runs"),
        ],
    )
    def test_a_wrong_command_line_has_the_same_form(
        self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*arguments, "--json"]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("Error: ")
        assert words in shown.err
        assert json.loads(shown.out)["error"]["type"] == "UsageError"

    def test_markup_in_a_message_is_shown_as_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", "[bold]x[/nothing]"]) == 2
        assert "[bold]x[/nothing]" in capsys.readouterr().err

    def test_a_failed_gate_is_code_1(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setattr(application, "app", _raising(GateError("It did not hold.")))
        assert main([]) == 1
        assert capsys.readouterr().err == "Error: It did not hold.\n"

    def test_a_missing_extra_is_named(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(application, "app", _raising(ModuleNotFoundError("no torch", name="torch.nn")))
        assert main(["--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["fix"] == "pip install 'lightmeter[train]'"

    def test_a_module_that_nobody_promised_is_a_bug(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(application, "app", _raising(ModuleNotFoundError("no such", name="lightmeter.nowhere")))
        assert main([]) == application.BUG
        assert "Traceback" in capsys.readouterr().err

    def test_a_bug_shows_its_traceback_and_a_json_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(application, "app", _raising(AssertionError("ours")))
        assert main(["--json"]) == application.BUG
        shown = capsys.readouterr()
        assert "Traceback" in shown.err
        assert "please report it" in shown.err
        assert "ours" in json.loads(shown.out)["error"]["message"]


class TestData:
    def test_check_ends_with_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = photos(tmp_path / "photos")
        (folder / "day" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
        assert main(["data", "check", str(folder), "--json"]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["n"], found["counts"]) == (12, [6, 6])
        assert [bad["id"] for bad in found["bad"]] == ["day/broken.jpg"]

    def test_check_shows_a_table(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["data", "check", str(photos(tmp_path / "photos"))]) == 0
        shown = capsys.readouterr().out
        assert "12 pictures of 2 classes" in shown
        assert "night" in shown

    def test_split_refuses_bad_files_unless_told(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder, out = photos(tmp_path / "photos", per_class=20), tmp_path / "split.json"
        (folder / "day" / "broken.png").write_bytes(b"no picture")
        assert main(["data", "split", str(folder), "--out", str(out)]) == 2
        assert "broken.png" in capsys.readouterr().err
        assert not out.exists()
        assert main(["data", "split", str(folder), "--out", str(out), "--on-bad", "quarantine", "--json"]) == 0
        counts = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert counts["train"] + counts["val"] + counts["test"] == 40
        assert sorted(json.loads(out.read_text())["test"])[0].startswith("day/")


class TestTrain:
    @pytest.mark.parametrize("begun", [True, False])
    def test_an_interrupt_says_how_to_go_on(
        self, begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import lightmeter.verbs.train
        from lightmeter.nouns.run import Run

        out = tmp_path / "a run"

        def interrupted(*arguments: object, **options: object) -> None:
            if begun:
                Run.create(out).write("request", {})
            raise KeyboardInterrupt

        monkeypatch.setattr(lightmeter.verbs.train, "train", interrupted)
        assert main(["train", "digits", "--out", str(out), "--json"]) == training.INTERRUPTED
        shown = capsys.readouterr()
        assert (f"lightmeter train digits --out '{out}' --resume" in shown.err) is begun
        assert json.loads(shown.out)["error"]["run"] == str(out)


class TestInspect:
    def test_a_model_is_a_table_and_its_totals(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", "tiny_cnn", "--classes", "200", "--size", "32", "--freeze", "-3"]) == 0
        shown = [" ".join(line.replace("│", " ").split()) for line in capsys.readouterr().out.splitlines()]
        assert shown[0] == "tiny_cnn: 32 x 32 pixels, RGB, 200 classes"
        assert "25 block4 block4.conv1 Conv2d 2 x 2 x 64 36,928 no" in shown
        assert any(line.endswith("head head.1 Linear 200 13,000 yes") for line in shown)
        assert shown[-3:] == ["parameters 123,160", "trained 13,000", "not trained 110,160"]

    def test_its_json_has_the_counts_and_blocks(self, capsys: pytest.CaptureFixture[str]) -> None:
        arguments = ["--classes", "10", "--size", "160", "--freeze", "all", "--set", "hidden=64", "--json"]
        assert main(["inspect", "mobilenet_v2", *arguments]) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (found["total"], found["trainable"], found["non_trainable"]) == (2_340_618, 82_634, 2_257_984)
        assert [block["name"] for block in found["blocks"] if block["trainable"]] == ["head"]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["vgg"], "alexnet32, compact_cnn"),
            (["inception_v3", "--size", "32"], "at least 75"),
            (["compact_cnn", "--freeze", "99"], "has 27 layers"),
            (["compact_cnn", "--freeze", "top"], "no block or layer 'top'"),
            (["runs/absent"], "does not exist"),
            ([".", "--classes", "3"], "are of a model"),
        ],
    )
    def test_mistakes_are_explained(self, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["inspect", *arguments]) == 2
        assert words in capsys.readouterr().err


class TestStart:
    @pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"], ["data", "fetch", "-h"]])
    def test_help_loads_nothing_heavy(self, arguments: list[str]) -> None:
        heavy = ("torch", "numpy", "PIL", "onnxruntime", "scipy", "sklearn", "matplotlib", "fastapi", "rich.progress")
        program = (
            "import sys\nfrom lightmeter.cli import main\n"
            f"code = main({arguments!r})\n"
            f"assert code == 0\nassert not [name for name in {heavy!r} if name in sys.modules]"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout

    def test_naming_a_picture_loads_nothing_that_it_does_not_need(self, tmp_path: Path) -> None:
        bundle, file = tmp_path / "model.bundle", tmp_path / "a.jpg"
        write_bundle(bundle, net(), **card())
        file.write_bytes(picture())
        spared = ("torch", "scipy", "cv2", "lightmeter.sources", "lightmeter.nouns.recipe", "rich.progress")
        program = (
            "import sys\nfrom lightmeter.cli import main\n"
            f"code = main(['predict', {str(bundle)!r}, {str(file)!r}])\n"
            f"assert code == 0\nfound = [name for name in {spared!r} if name in sys.modules]\nassert not found, found"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "a.jpg" in done.stdout

    def test_the_module_runs_as_the_command(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "lightmeter", "nonsense"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")

    def test_a_reader_that_goes_away_is_no_bug(self) -> None:
        command = f"{sys.executable} -m lightmeter --help | true"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


class TestDoctor:
    def test_it_looks_and_says_so(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "OK"

    def test_its_json_names_what_is_there(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["ok"] is True
        assert found["versions"]["numpy"] == np.__version__
        assert found["data sets"]["cifar10"] == "not there"
        assert found["machine"]["cores"] >= 1

    def test_it_loads_no_torch(self) -> None:
        program = "import sys, lightmeter\nlightmeter.doctor()\nassert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", program], check=True)

    def test_a_place_that_is_full_is_a_problem(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from lightmeter.verbs import doctor

        monkeypatch.setattr(doctor, "LOW_DISK", 1e9)
        assert main(["doctor", "--json"]) == 1
        assert "GiB are free" in json.loads(capsys.readouterr().out)["problems"][0]


class TestProgress:
    def test_plain_lines_come_now_and_then(self) -> None:
        now = 0.0
        text = io.StringIO()
        progress = PlainProgress(Console(file=text), clock=lambda: now)
        with progress.track("decode", 1000, "images") as advance:
            for _ in range(100):
                now += 0.11
                advance(10)
        assert text.getvalue().splitlines() == [
            "decode: 460 of 1,000 images, 91 images/s, 5.9 s left",
            "decode: 920 of 1,000 images, 91 images/s, 0.9 s left",
            "decode: 1,000 images in 11 s",
        ]

    def test_what_is_to_be_reached_may_change(self) -> None:
        now = 0.0
        text = io.StringIO()
        progress = PlainProgress(Console(file=text), clock=lambda: now)
        with progress.track("training", 100, "images") as advance:
            for total in (None, 300, None):
                now += 6
                advance(60, total)
        assert text.getvalue().splitlines() == [
            "training: 60 of 100 images, 10 images/s, 4.0 s left",
            "training: 120 of 300 images, 10 images/s, 18 s left",
            "training: 180 of 300 images, 10 images/s, 12 s left",
            "training: 180 images in 18 s",
        ]

    def test_a_bar_keeps_its_speed_where_its_total_changes(self) -> None:
        progress = RichProgress(Console(file=io.StringIO(), force_terminal=True, width=100))
        with progress.track("training", 100, "images") as advance:
            bars = progress._bars
            assert bars is not None
            for _ in range(3):
                time.sleep(0.01)
                advance(10)
            advance(10, 300)
            (task,) = bars.tasks
            assert (task.completed, task.total) == (40, 300) and task.speed

    def test_what_is_quick_is_silent(self) -> None:
        text = io.StringIO()
        with PlainProgress(Console(file=text), clock=lambda: 0.0).track("decode", 10, "images") as advance:
            advance(10)
        assert text.getvalue() == ""

    def test_bars_nest_and_leave_only_what_was_said(self) -> None:
        text = io.StringIO()
        progress = RichProgress(Console(file=text, force_terminal=True, width=100))
        with progress.track("epochs", 2, "epochs") as outer, progress.track("batches", 4, "images") as inner:
            inner(4)
            progress.say("first [epoch] done")
            outer(1)
        assert "first [epoch] done" in text.getvalue()
        with progress.track("again", 1, "images") as advance:
            advance(1)
        assert "again" in text.getvalue()


def _raising(error: BaseException) -> object:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    return fail


def test_a_training_that_is_told_to_end_while_it_measures_says_how_to_go_on(tmp_path: Path) -> None:
    """By SIGTERM, as a job scheduler would; while it learns is tested with the training loop."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "lightmeter", "train", "digits", "--budget", "1h", "--out", str(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while "Measuring" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert process.returncode == 130, said
    assert f"go on with: lightmeter train digits --out {out} --resume" in said
    assert "Traceback" not in said

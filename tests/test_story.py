"""The README tells the truth: its shell and Python examples are run as they stand, in one fresh folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
TOO_SHORT = re.compile(r"budget of .* is too short(?:.|\n)*at least ([\d]+) s on this machine")
BUDGET = re.compile(r"(--budget |budget=)\d+[smh]?")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The fenced examples of one language, in order."""
    return [body for found, body in BLOCK.findall(README.read_text(encoding="utf-8")) if found == language]


def commands() -> list[str]:
    """The shell examples, line by line, without make, which installs what already runs this test."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.strip() and not line.startswith("make ")]


@dataclass
class Story:
    """One folder in which the README is followed from top to bottom."""

    folder: Path

    def run(self, *command: str) -> str:
        """Run a command there and expect it to end well; returns its standard output.

        A budget that this machine says is too short, because it is slow or busy, is lengthened to what it asks for.
        """
        done = self._run(command)
        too_short = TOO_SHORT.search(done.stderr)
        if done.returncode and too_short:
            shutil.rmtree(self.folder / "runs", ignore_errors=True)
            enough = f"{2 * int(too_short[1])}"
            done = self._run(tuple(BUDGET.sub(lambda found: found[1] + enough, word) for word in command))
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _run(self, command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        scripts = str(Path(sys.executable).parent)
        environment = os.environ | {
            "PATH": scripts + os.pathsep + os.environ["PATH"],
            "LIGHTMETER_CACHE": str(self.folder / "cache"),
            "LIGHTMETER_DATA": str(self.folder / "data"),
        }
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"))


def test_the_shell_examples_and_the_demo_run(story: Story) -> None:
    assert len(commands()) >= 10
    shown = {line.split("#")[0].strip(): story.run("bash", "-c", line) for line in commands()}
    assert (story.folder / "runs" / "tour" / "report.html").stat().st_size > 10_000
    assert (story.folder / "runs" / "tour" / "model.bundle" / "model.onnx").exists()
    trained = next(text for line, text in shown.items() if line.startswith("lightmeter train digits --budget"))
    assert "pictures right (95 % interval" in trained
    assert "lightmeter predict runs/tour/model.bundle" in trained
    openings = (story.folder / "runs" / "tour" / "ledger.jsonl").read_text().splitlines()
    assert len(openings) == 1, "only training opened the test split"
    # The rest of `make demo`, on the run that is there.
    script = README.parent / "docs" / "examples" / "write_a_digit.py"
    sample = story.run(sys.executable, str(script), "runs/tour").strip()
    assert sample in story.run("lightmeter", "predict", "runs/tour/model.bundle", sample)


def test_the_python_example_runs(story: Story) -> None:
    [program] = blocks("python")
    shown = story.run(sys.executable, "-W", "error", "-c", program).splitlines()
    score = re.fullmatch(r"([\d.]+)% of 355 test pictures right, 95 % interval ([\d.]+)% to ([\d.]+)%", shown[0])
    assert score is not None, shown
    accuracy, low, high = map(float, score.groups())
    assert 85 < low < accuracy <= high <= 100  # all 355 can be right on a fast machine
    label, probability = shown[1].split()
    assert label in "0123456789"
    assert 0 < float(probability) <= 1

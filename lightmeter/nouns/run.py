"""A Run: the folder that one training leaves behind. Append-only while it lasts, and not edited after it ends."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.errors import FormatError, StorageError
from lightmeter.nouns.files import append_line, read_json, storage_errors, write_atomic, write_json
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.split import Split

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Run:
    """Names the files of a run folder; holds nothing but the path.

    Files: `recipe.json split.json data.json environment.json plan.json request.json clock.json start.json
    contamination.json seen.npz epochs.jsonl history.csv weights/best.safetensors state/ evaluation/val.npz
    evaluation/test.npz ledger.jsonl plots/ report.html result.json model.bundle/`.
    """

    path: Path

    @staticmethod
    def create(path: Path) -> Run:
        """Make a new run folder. Raises StorageError where it cannot be made or holds a run already."""
        if any((path / name).exists() for name in ("recipe.json", "request.json", "state")):
            raise StorageError(
                f"{path} holds a run already.",
                "a folder without a run",
                "choose another --out, or continue that run with --resume.",
            )
        with storage_errors(path):
            for folder in (path, path / "weights", path / "evaluation"):
                folder.mkdir(parents=True, exist_ok=True)
        return Run(path)

    @staticmethod
    def open(path: Path) -> Run:
        """Open an existing run folder. Raises FormatError where it is none, or one of a newer format."""
        if not path.is_dir():
            raise FormatError(f"{path} is not a folder.", "a run folder, as `lightmeter train` leaves it")
        if not (path / "request.json").exists():
            around = path.resolve().parent
            fix = f"the run is {around}." if (around / "request.json").exists() else ""
            raise FormatError(f"{path} holds no run.", "a run folder, as `lightmeter train` leaves it", fix)
        run = Run(path)
        run.read("request")
        return run

    def discard(self) -> None:
        """Take away a run that has learnt nothing yet, and its folder if nothing else is in it."""
        assert not (self.path / "epochs.jsonl").exists(), "a run that has begun to learn is kept"
        for name in ("request", "split", "data", "environment", "recipe", "plan", "clock", "start", "contamination"):
            (self.path / f"{name}.json").unlink(missing_ok=True)
        (self.path / "seen.npz").unlink(missing_ok=True)
        for folder in (self.path / "weights", self.path / "evaluation", self.path):
            with contextlib.suppress(OSError):  # not empty, or not ours to remove
                folder.rmdir()

    def write(self, name: str, document: dict[str, Any]) -> None:
        """Write `<name>.json` with its format number."""
        write_json(self.path / f"{name}.json", {"format": FORMAT, **document})

    def read(self, name: str) -> dict[str, Any]:
        """Read `<name>.json`. Raises FormatError, for an unfinished run with what to do."""
        if name == "result" and not self.has(name):
            raise FormatError(f"{self.path} holds an unfinished run.", "a finished one", "go on with it by --resume.")
        return read_json(self.path / f"{name}.json", kind=f"run's {name}", newest=FORMAT)

    def has(self, name: str) -> bool:
        """Whether `<name>.json` stands there."""
        return (self.path / f"{name}.json").exists()

    def append_epoch(self, record: dict[str, Any]) -> None:
        """Add one line to `epochs.jsonl`."""
        append_line(self.path / "epochs.jsonl", json.dumps(record, allow_nan=False))

    def write_epochs(self, records: Sequence[dict[str, Any]]) -> None:
        """Put these in place of all lines of `epochs.jsonl`, at once."""
        text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        write_atomic(self.path / "epochs.jsonl", text)

    def epochs(self) -> list[dict[str, Any]]:
        """The records of `epochs.jsonl`; a last line cut short by a kill is left out."""
        path = self.path / "epochs.jsonl"
        if not path.exists():
            return []
        records = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return records

    @property
    def recipe(self) -> Recipe:
        """The recipe that was run."""
        return Recipe.parse(self.read("recipe")["recipe"])

    @property
    def split(self) -> Split:
        """The split that was used."""
        return Split.load(self.path / "split.json")

    @property
    def bundle(self) -> Path:
        """Where the exported bundle stands once it is written."""
        return self.path / "model.bundle"

    @property
    def report(self) -> Path:
        """Where the report stands once it is written."""
        return self.path / "report.html"

    @property
    def weights(self) -> Path:
        """The best weights by validation."""
        return self.path / "weights" / "best.safetensors"

    @property
    def state(self) -> Path:
        """The folder of the resumable state."""
        return self.path / "state"

    @property
    def ledger(self) -> Path:
        """One line per opening of the test split."""
        return self.path / "ledger.jsonl"


def passes(records: Sequence[Mapping[str, Any]]) -> float:
    """How often training went through its pictures, from a run's epochs: of a last one that was cut short, its part."""
    if len(records) < 2:
        return float(len(records))
    last = (records[-1]["step"] - records[-2]["step"]) / records[0]["step"]
    return float(round(len(records) - 1 + min(1.0, last), 1))

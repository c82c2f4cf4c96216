"""Everything a run folder says, read once; what a run that did not finish lacks is None or empty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import FormatError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import read_json
from lightmeter.nouns.run import FORMAT, Run
from lightmeter.nouns.split import Split
from lightmeter.verbs.calibrate import Calibration, calibrate
from lightmeter.verbs.evaluate import read_ledger


@dataclass(frozen=True)
class Material:
    """The documents of one run.

    Attributes:
        path: the run folder.
        recipe, environment, data, plan, result: documents as they were written, or None.
        split: the split, or None.
        epochs: epoch records, oldest first.
        val, test: evaluations, or None.
        ledger: openings of the test split, oldest first.
    """

    path: Path
    recipe: dict[str, Any] | None
    environment: dict[str, Any] | None
    data: dict[str, Any] | None
    plan: dict[str, Any] | None
    result: dict[str, Any] | None
    split: Split | None
    epochs: list[dict[str, Any]]
    val: Evaluation | None
    test: Evaluation | None
    ledger: list[dict[str, Any]]

    @staticmethod
    def read(path: Path) -> Material:
        """Read a run folder.

        Raises:
            FormatError: it is no run folder, or a document in it is broken or of a newer format.
        """

        def document(name: str) -> dict[str, Any] | None:
            place = path / f"{name}.json"
            return read_json(place, kind=f"run's {name}", newest=FORMAT) if place.exists() else None

        def evaluation(name: str) -> Evaluation | None:
            place = path / "evaluation" / f"{name}.npz"
            return Evaluation.load(place) if place.exists() else None

        split = path / "split.json"
        material = Material(
            path=path,
            recipe=document("recipe"),
            environment=document("environment"),
            data=document("data"),
            plan=document("plan"),
            result=document("result"),
            split=Split.load(split) if split.exists() else None,
            epochs=Run(path).epochs(),
            val=evaluation("val"),
            test=evaluation("test"),
            ledger=read_ledger(path / "ledger.jsonl"),
        )
        if all(not value for name, value in vars(material).items() if name != "path"):
            raise FormatError(f"{path} holds no run.", "a run folder, as `lightmeter train` leaves it")
        return material

    @property
    def scored(self) -> Evaluation | None:
        """The test evaluation, else the validation one."""
        return self.test or self.val

    @cached_property
    def calibration(self) -> Calibration | None:
        """What the validation split says about probabilities; fitted again, so that it is of these very logits."""
        return calibrate(self.val) if self.val is not None else None

    @property
    def name(self) -> str:
        """What the pictures are called."""
        return str(self.data["name"]) if self.data else self.path.name

    @property
    def openings(self) -> int:
        """How often the test split was opened."""
        return sum(entry.get("split") == "test" for entry in self.ledger)

    @property
    def best_epoch(self) -> int | None:
        """Number of the last epoch that was the best so far: the one whose weights were kept."""
        best = [int(record["epoch"]) for record in self.epochs if record.get("best")]
        return best[-1] if best else None

    @property
    def leaks(self) -> int:
        """Test pictures that have an identical twin in training."""
        if self.split is not None:
            return len({test for test, _ in self.split.leaks})
        return int((self.data or {}).get("split", {}).get("leaks", 0))

    @property
    def past(self) -> dict[str, Any] | None:
        """What was found of test pictures that the model had seen; None for a run that did not look."""
        return (self.result or {}).get("provenance")

    @cached_property
    def without_leaks(self) -> Evaluation | None:
        """The test evaluation less the pictures that stand in training too; None where there are none, or only such."""
        if self.test is None or self.split is None or not self.split.leaks:
            return None
        leaked = {test for test, _ in self.split.leaks}
        e = self.test
        rows = np.array([row for row, id in enumerate(e.ids) if id not in leaked], np.int64)
        if not len(rows):
            return None
        ids = tuple(e.ids[row] for row in rows)
        return Evaluation(ids, e.logits[rows], e.labels[rows], e.classes, e.split, e.temperature)

"""evaluate: a model and a named set of pictures to an Evaluation. The one file that reads the ids of a test split."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import FormatError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import append_line
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.split import Split

if TYPE_CHECKING:
    from lightmeter.nouns.pack import Pack

Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8[N, S, S, C] -> float32[N, K]: a model in memory, or a bundle's runner."""

AT_ONCE = 32
"""Pictures that are scored at a time: few enough for six views of large ones, enough to keep the cores busy.
More where a runner says that it needs more for that."""


@dataclass(frozen=True)
class Opened:
    """The Evaluation of a test split, and how many times that split was opened in this run, this time included."""

    evaluation: Evaluation
    times: int

    def document(self) -> dict[str, Any]:
        """The summary, with "opened", "per_class" (each with its "class") and "confusion"."""
        return {**document(self.evaluation), "opened": self.times}


def document(evaluation: Evaluation) -> dict[str, Any]:
    """The summary of an Evaluation with "per_class" (each with its "class") and "confusion", as plain JSON values."""
    rows = zip(evaluation.classes, evaluation.per_class, strict=True)
    return {
        **evaluation.summary(),
        "split": evaluation.split,
        "per_class": [{"class": name, **row} for name, row in rows],
        "averages": evaluation.averages,
        "confusion": evaluation.confusion.tolist(),
    }


def score(
    run_logits: Logits,
    pack: Pack,
    ids: Sequence[str],
    classes: Sequence[str],
    *,
    split: str,
    temperature: float = 1.0,
    batch_size: int = AT_ONCE,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score exactly the pictures named, in that order.

    Args:
        run_logits: uint8[N, S, S, C] -> float32[N, K].
        split: what these pictures are; for the test split of a run use `open_test`.

    Raises:
        DataError: no id, an id twice, or an id that the pack does not hold.
        TrainingError: logits that are not finite.
    """
    rows = pack.rows(ids)
    parts: list[NDArray[np.float32]] = []
    with progress.track(f"scoring {split}", len(rows), "images") as advance:
        for pixels in pack.in_turn(rows, max(batch_size, getattr(run_logits, "at_once", 0))):
            part = np.asarray(run_logits(pixels), np.float32)
            assert part.shape == (len(pixels), len(classes)), f"logits {part.shape} for {len(pixels)} x {len(classes)}"
            parts.append(part)
            advance(len(pixels))
    logits = np.concatenate(parts) if parts else np.zeros((0, len(classes)), np.float32)
    labels = np.asarray(pack.labels)[rows].astype(np.int64)
    return Evaluation(tuple(ids), logits, labels, tuple(classes), split, temperature)


def open_test(
    run_logits: Logits,
    pack: Pack,
    split: Split,
    classes: Sequence[str],
    *,
    ledger: Path,
    by: str,
    recipe_key: str,
    temperature: float = 1.0,
    progress: Progress = SILENT,
) -> Opened:
    """Score the test split, having first written that it was opened.

    Args:
        ledger: the run's ledger.jsonl; one line {"time", "split", "n", "fingerprint", "by", "recipe_key"} is added.
        by: the verb that opens it ("train", "evaluate").
        recipe_key: of the model that is scored.

    Raises:
        DataError, TrainingError: as `score`.
        StorageError: the ledger cannot be written; then nothing is scored.
    """
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "split": "test",
        "n": len(split.test),
        "fingerprint": split.fingerprint,
        "by": by,
        "recipe_key": recipe_key,
    }
    append_line(ledger, json.dumps(entry))  # before the scores exist, so that an opening cannot go unrecorded
    times = times_opened(ledger)
    scored = score(
        run_logits,
        pack,
        split.test,
        classes,
        split="test",
        temperature=temperature,
        progress=progress,
    )
    return Opened(scored, times)


def read_ledger(ledger: Path) -> list[dict[str, Any]]:
    """The lines of a ledger, oldest first; none where it does not exist. Raises FormatError."""
    if not ledger.exists():
        return []
    lines = [line for line in ledger.read_text(encoding="utf-8").splitlines() if line.strip()]
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError as error:
        raise FormatError(f"{ledger} is not readable ({error}).", "one JSON object a line") from error


def times_opened(ledger: Path) -> int:
    """How often the test split was opened, by any verb."""
    return sum(entry.get("split") == "test" for entry in read_ledger(ledger))

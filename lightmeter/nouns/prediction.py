"""A Prediction: what a bundle says about one picture, or why it says nothing; and a table of them as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture.

    Attributes:
        file: the picture, as the caller named it.
        label: the likeliest class, also where the model abstains; None where the picture could not be read.
        probability: of that class; None where there is no label.
        top: the likeliest classes with their probabilities, best first.
        calibrated: whether the probabilities were fitted on held-out pictures.
        abstain: whether the answer should not be relied on.
        reason: why it abstains; "" where it does not.
    """

    file: str
    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...]
    calibrated: bool
    abstain: bool
    reason: str

    @staticmethod
    def unreadable(file: str, reason: str) -> Prediction:
        """The entry of a picture that could not become an answer: no label, and the reason."""
        return Prediction(file, None, None, (), calibrated=False, abstain=True, reason=reason)

    @property
    def failed(self) -> bool:
        """Whether the picture could not be read, so that there is no label at all."""
        return self.label is None

    def document(self) -> dict[str, Any]:
        """The prediction as plain JSON values."""
        return {
            "file": self.file,
            "label": self.label,
            "probability": self.probability,
            "top": [[label, probability] for label, probability in self.top],
            "calibrated": self.calibrated,
            "abstain": self.abstain,
            "reason": self.reason,
        }


def to_csv(predictions: Iterable[Prediction]) -> str:
    """A table with a header: file, label, probability, abstain, reason, calibrated, then label_2, probability_2, ...

    Probabilities are written in full, so that reading them back gives the same numbers.
    """
    rows = list(predictions)
    ranks = range(1, max((len(row.top) for row in rows), default=0))
    header = ["file", "label", "probability", "abstain", "reason", "calibrated"]
    for rank in ranks:
        header += [f"label_{rank + 1}", f"probability_{rank + 1}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        cells: list[str | float] = [
            row.file,
            row.label if row.label is not None else "",
            row.probability if row.probability is not None else "",
            "yes" if row.abstain else "no",
            row.reason,
            "yes" if row.calibrated else "no",
        ]
        for rank in ranks:
            cells += row.top[rank] if rank < len(row.top) else ("", "")
        writer.writerow(cells)
    return text.getvalue()

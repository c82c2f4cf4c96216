"""A Plan: what will be computed and how, and why that was chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightmeter.nouns.recipe import Recipe
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.measurement import Measurement


@dataclass(frozen=True, slots=True)
class Plan:
    """What was chosen and why.

    Attributes:
        recipe: what will be computed.
        execution: how.
        train_until: seconds of the budget at which training must end; None without a budget.
        elastic: whether epochs may be added where training turns out faster than measured.
        measurements: what was measured.
        sentences: the reasons, for people.
        features_by: how features are computed that a head is trained on; None where there are none.
    """

    recipe: Recipe
    execution: Execution
    train_until: float | None
    elastic: bool
    measurements: tuple[Measurement, ...] = ()
    sentences: tuple[str, ...] = field(default=())
    features_by: Execution | None = None

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "execution": self.execution.document(),
            "train_until": self.train_until,
            "elastic": self.elastic,
            "measurements": [measurement.document() for measurement in self.measurements],
            "sentences": list(self.sentences),
            "features_by": None if self.features_by is None else self.features_by.document(),
        }

    @staticmethod
    def parse(document: dict[str, Any], recipe: Recipe) -> Plan:
        """Read what `document` wrote."""
        return Plan(
            recipe,
            Execution(**document["execution"]),
            document["train_until"],
            document["elastic"],
            tuple(Measurement(**entry) for entry in document["measurements"]),
            tuple(document["sentences"]),
            Execution(**document["features_by"]) if document.get("features_by") else None,
        )

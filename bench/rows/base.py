"""A Row: what is compared, the mark it must clear, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.pairs import Outcome


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        id: "P1" and so on.
        what: is measured, as a ratio of ours to theirs.
        against: whom.
        must, aim: the marks for the ratio.
        better: whether it has to stay above or below them.
        exempt: why this machine has no mark to clear; "" where it has one.
        run: True for quick (under 50 s, smaller and fewer pairs) -> what came out.
    """

    id: str
    what: str
    against: str
    must: float
    aim: float
    better: Literal["above", "below"]
    run: Callable[[bool], Outcome]
    exempt: str = ""

    def verdict(self, outcome: Outcome) -> str:
        """Whether the whole interval clears the mark, and what must not be paid for it was not."""
        if self.exempt:
            return f"no mark: {self.exempt}"
        clear = outcome.low >= self.must if self.better == "above" else outcome.high <= self.must
        return "cleared" if clear and outcome.sound else "missed"

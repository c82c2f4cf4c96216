"""Learning curves that were measured before -> the validation error that a width and a number of epochs promise.

`curves.json` holds them: for each set of pictures a grid of widths and epochs, every cell a training of its own from
random weights to the end of its schedule by the recipe `fast`, scored on validation pictures. `python -m bench.curves`
measures and writes it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lightmeter.nouns.files import read_json

TABLE = Path(__file__).with_name("curves.json")
FORMAT = 1
_NEAR = 0.25  # added to squared distances, so that a set much like another does not speak alone
_LEAST = 1e-4  # an error, below which a logarithm says nothing


@dataclass(frozen=True, slots=True)
class Grid:
    """What one set of pictures taught.

    Attributes:
        source: whose pictures.
        n, num_classes, size: training pictures, classes, side of the canvases.
        widths, epochs: ascending.
        errors: of validation, 0..1, one row per width, one value per number of epochs.
    """

    source: str
    n: int
    num_classes: int
    size: int
    widths: tuple[float, ...]
    epochs: tuple[float, ...]
    errors: tuple[tuple[float, ...], ...]

    def at(self, width: float, epochs: float) -> float:
        """The log-odds of an error, between the points that were measured.

        Beyond the most epochs and the widest network nothing more is promised; below the fewest epochs the curve is
        drawn on, as it is steep there.
        """
        row, share = _place(self.widths, min(max(width, self.widths[0]), self.widths[-1]))
        column, along = _place(self.epochs, min(epochs, self.epochs[-1]))
        values = [
            (1 - along) * _odds(errors[column]) + along * _odds(errors[column + 1])
            for errors in (self.errors[row], self.errors[row + 1])
        ]
        return (1 - share) * values[0] + share * values[1]

    def distance(self, n: int, num_classes: int, size: int) -> float:
        """Squared, in doublings: of pictures and of their side in full, of classes by half."""
        pictures, classes, side = (
            math.log2(one / other) for one, other in ((n, self.n), (num_classes, self.num_classes), (size, self.size))
        )
        return pictures**2 + (classes / 2) ** 2 + side**2


@cache
def grids() -> tuple[Grid, ...]:
    """The table that this package brings. Raises FormatError."""
    document = read_json(TABLE, kind="learning curves", newest=FORMAT)
    return tuple(
        Grid(
            entry["source"],
            entry["n"],
            entry["num_classes"],
            entry["size"],
            tuple(entry["widths"]),
            tuple(entry["epochs"]),
            tuple(tuple(row) for row in entry["errors"]),
        )
        for entry in document["grids"]
    )


def expected_error(
    n: int, num_classes: int, size: int, width: float, epochs: float, *, among: Sequence[Grid] = ()
) -> float:
    """The validation error that training from random weights promises, as on the sets most like this one.

    Good for telling plans apart; how hard other pictures are it cannot know.

    Args:
        n, num_classes, size: training pictures, classes, side of the canvases.
        width, epochs: of the plan.
        among: other grids than the package's.
    """
    known = among or grids()
    weights = [1 / (_NEAR + grid.distance(n, num_classes, size)) for grid in known]
    odds = sum(weight * grid.at(width, epochs) for weight, grid in zip(weights, known, strict=True)) / sum(weights)
    return 1 / (1 + math.exp(-odds))


def _place(points: Sequence[float], value: float) -> tuple[int, float]:
    """The point below, and how far on towards the next, in logarithms; below the first point less than nothing."""
    below = min(max(bisect_right(points, value) - 1, 0), len(points) - 2)
    low, high = math.log(points[below]), math.log(points[below + 1])
    return below, (math.log(value) - low) / (high - low)


def _odds(error: float) -> float:
    kept = min(max(error, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))

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
from itertools import accumulate
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
        """The log-odds of an error: between the points that were measured, and drawn on beyond them, see `_along`.

        A cell is one training, so that by chance a wider or longer one ends with more errors than its neighbour: such
        a difference is taken for none, lest it be drawn on.
        """
        rows = [list(accumulate((_odds(error) for error in errors), min)) for errors in self.errors]
        by_width = list(accumulate((_along(self.epochs, row, epochs) for row in rows), min))
        return _along(self.widths, by_width, max(width, self.widths[0]))

    def sentence(self) -> str:
        """What it is, for people."""
        return (
            f"Of the pictures whose learning curves are known, {self.source} with {self.n:,} of {self.num_classes} "
            f"classes at {self.size} px is nearest to these in those three numbers."
        )

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

    Good for telling plans of the recipe `fast` apart, and those of others for want of better; how hard other pictures
    are it cannot know.

    Args:
        n, num_classes, size: training pictures, classes, side of the canvases.
        width, epochs: of the plan.
        among: other grids than the package's.
    """
    known = among or grids()
    weights = [1 / (_NEAR + grid.distance(n, num_classes, size)) for grid in known]
    odds = sum(weight * grid.at(width, epochs) for weight, grid in zip(weights, known, strict=True)) / sum(weights)
    return 1 / (1 + math.exp(-odds))


def nearest(n: int, num_classes: int, size: int) -> Grid:
    """The set of the package's that is nearest to one with so many training pictures, classes and pixels of a side."""
    return min(grids(), key=lambda grid: grid.distance(n, num_classes, size))


def _along(points: Sequence[float], values: Sequence[float], at: float) -> float:
    """A value between those at the points, in logarithms of the place.

    Before the first point the line is drawn on, as learning is steep there. After the last point each further stretch
    as long as the one between the last two brings half of what the one before it brought: there is always a little to
    gain, and in all never more than that last stretch brought.
    """
    place = min(max(bisect_right(points, at) - 1, 0), len(points) - 2)
    low, high = math.log(points[place]), math.log(points[place + 1])
    share, step = (math.log(at) - low) / (high - low), values[place + 1] - values[place]
    return values[place] + step * (share if share <= 1 else 2 - 0.5 ** (share - 1))


def _odds(error: float) -> float:
    kept = min(max(error, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))

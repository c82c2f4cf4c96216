"""P4 and P5: how fast pictures reach the network."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.jpegs import at_hand, folder, tiled
from bench.pairs import Outcome, interleave, ratio, side_command, sides
from bench.rows.base import Row

SIDE = "160"
_LARGER = ((1280, 200), (3000, 40))  # shorter side, pictures: the last as a camera of 12 million pixels takes them


def _pipelines(id: str, job: str, quick: bool, make: Callable[[Path], Path], details: dict[str, Any]) -> Outcome:
    with tempfile.TemporaryDirectory() as scratch:
        words = (str(make(Path(scratch) / "pictures")), SIDE, job)
        commands = (
            ("ours", side_command("pipeline_ours", *words)),
            ("textbook", side_command("pipeline_textbook", *words)),
        )
        with sides(*commands) as (mine, textbook):
            ours, theirs = interleave(lambda: mine.go()["value"], lambda: textbook.go()["value"], 3 if quick else 7)
    return Outcome(id, ours, theirs, *ratio(ours, theirs), details)


def augmented(quick: bool) -> Outcome:
    """Whole epochs from the second on."""
    count = 1000 if quick else 4000
    details = {"pictures": count, "shorter side": "as it is"}
    return _pipelines("P4", "augmented", quick, lambda target: folder(target, count), details)


def first(quick: bool) -> Outcome:
    """Decoding, shrinking and keeping each picture for the first time; the whole row looks at larger ones, too."""
    count = 300 if quick else 1500
    details = {"pictures": count, "shorter side": 480}
    found = _pipelines("P5", "first", quick, lambda target: folder(target, count, shorter=480), details)
    return found if quick else replace(found, details={**details, "larger": [_larger(*one) for one in _LARGER]})


def _larger(shorter: int, count: int) -> dict[str, Any]:
    found = _pipelines("P5", "first", False, lambda target: tiled(target, count, shorter=shorter), {})
    made_of = "photographs" if at_hand() else "blurred noise"
    return {"shorter side": shorter, "pictures": count, "made of": made_of, **found.document()}


P4 = Row(
    "P4",
    "pipeline images/s from the second epoch on, 160 px, crop, mirror and colour",
    "folder of pictures, Pillow, DataLoader with 2 workers",
    10.0,
    20.0,
    "above",
    augmented,
)
P5 = Row(
    "P5",
    "pipeline images/s in the first pass over JPEGs of three times the target side",
    "folder of pictures, Pillow, DataLoader with 2 workers",
    2.0,
    3.0,
    "above",
    first,
)

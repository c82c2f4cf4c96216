"""P4 and P5: how fast pictures reach the network."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.jpegs import folder
from bench.pairs import Outcome, interleave, ratio, side_command, sides
from bench.rows.base import Row

SIDE = "160"


def _pipelines(id: str, job: str, quick: bool, count: int, shorter: int | None) -> Outcome:
    with tempfile.TemporaryDirectory() as scratch:
        words = (str(folder(Path(scratch) / "pictures", count, shorter=shorter)), SIDE, job)
        commands = (
            ("ours", side_command("pipeline_ours", *words)),
            ("textbook", side_command("pipeline_textbook", *words)),
        )
        with sides(*commands) as (mine, textbook):
            ours, theirs = interleave(lambda: mine.go()["value"], lambda: textbook.go()["value"], 3 if quick else 7)
    return Outcome(id, ours, theirs, *ratio(ours, theirs), {"pictures": count, "shorter side": shorter or "as it is"})


def augmented(quick: bool) -> Outcome:
    """Whole epochs from the second on."""
    return _pipelines("P4", "augmented", quick, 1000 if quick else 4000, None)


def first(quick: bool) -> Outcome:
    """Decoding, shrinking and keeping each picture for the first time."""
    return _pipelines("P5", "first", quick, 300 if quick else 1500, 480)


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

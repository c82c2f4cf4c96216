"""P11: memory of a training."""

from __future__ import annotations

from bench.arrays import cifar_arrays
from bench.pairs import Outcome, interleave, ratio, side_command, sides
from bench.rows.base import Row
from bench.rows.training import BATCH, NETWORK


def run(quick: bool) -> Outcome:
    """The largest resident memory of each training process; a new process for each value.

    The two workers of the textbook's loader are not counted, in its favour.
    """
    words, pairs = (NETWORK, BATCH, "1" if quick else "5"), 2 if quick else 5

    def peak(script: str) -> float:
        with sides((script, side_command(script, *words))) as (side,):
            return float(side.go()["peak_mib"])

    with cifar_arrays():
        ours, theirs = interleave(lambda: peak("train_ours"), lambda: peak("train_textbook"), pairs)
    return Outcome("P11", ours, theirs, *ratio(ours, theirs), {"unit": "MiB"})


P11 = Row("P11", "peak memory of a training", "the same textbook", 1.0, 0.6, "below", run)

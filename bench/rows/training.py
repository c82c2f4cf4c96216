"""P1: the speed of training."""

from __future__ import annotations

from bench.arrays import cifar_arrays
from bench.pairs import Outcome, interleave, ratio, side_command, sides
from bench.rows.base import Row

NETWORK, BATCH = "vgg3", "128"


def run(quick: bool) -> Outcome:
    """Both loops in turns, on the same pictures."""
    seconds, pairs = ("3", 3) if quick else ("10", 7)
    words = (NETWORK, BATCH, seconds)
    with (
        cifar_arrays(),
        sides(("ours", side_command("train_ours", *words)), ("textbook", side_command("train_textbook", *words))) as (
            mine,
            textbook,
        ),
    ):
        if mine.ready["parameters"] != textbook.ready["parameters"]:
            raise RuntimeError("The networks differ: nothing can be compared.")
        ours, theirs = interleave(lambda: mine.go()["value"], lambda: textbook.go()["value"], pairs)
        details = {"network": NETWORK, "batch": int(BATCH), "ours": mine.ready, "theirs": textbook.ready}
    return Outcome("P1", ours, theirs, *ratio(ours, theirs), details)


P1 = Row(
    "P1",
    "training images/s, three VGG blocks with BatchNorm, CIFAR shape, batches of 128, mirrored and shifted",
    "textbook PyTorch: NCHW, float32, DataLoader with 2 workers, one picture at a time",
    2.5,
    4.0,
    "above",
    run,
)

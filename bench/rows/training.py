"""P1 and P2: the speed of training."""

from __future__ import annotations

from bench.arrays import cifar_arrays
from bench.pairs import Outcome, interleave, ratio, side_command, sides
from bench.peers import python_of
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


BACKENDS = ("tensorflow", "jax", "torch")


def keras(quick: bool) -> Outcome:
    """The fastest backend is found first, when there is time for that; then it and ours in turns."""
    python = python_of("keras")
    seconds, pairs = ("2", 3) if quick else ("10", 7)
    rates: dict[str, float] = {}
    with cifar_arrays():
        for backend in () if quick else BACKENDS:
            with sides((backend, side_command("train_keras", backend, BATCH, "2", python=python))) as (side,):
                rates[backend] = side.go()["value"]
        best = max(rates, key=lambda name: rates[name], default=BACKENDS[0])
        with sides(
            ("ours", side_command("train_ours", NETWORK, BATCH, seconds)),
            (best, side_command("train_keras", best, BATCH, seconds, python=python)),
        ) as (mine, other):
            if mine.ready["parameters"] != other.ready["parameters"]:
                raise RuntimeError("The networks differ: nothing can be compared.")
            ours, theirs = interleave(lambda: mine.go()["value"], lambda: other.go()["value"], pairs)
            details = {"fastest backend": best, "images/s of each": rates, "ours": mine.ready, "theirs": other.ready}
    return Outcome("P2", ours, theirs, *ratio(ours, theirs), details)


P2 = Row(
    "P2",
    "training images/s, the same network and batch; ours with augmentation, theirs without",
    "the best of Keras 3 on TensorFlow, JAX and PyTorch",
    1.8,
    2.5,
    "above",
    keras,
)

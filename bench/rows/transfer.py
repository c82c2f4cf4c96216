"""P6 and P9: transfer from published weights, and its bundle in 8 bits."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.jpegs import parted
from bench.pairs import Outcome, interleave, pairs_worth, ratio, side_command, sides
from bench.peers import python_of
from bench.rows.base import Row
from bench.rows.jobs import answered
from lightmeter.nouns.places import data_folder
from lightmeter.verbs.environment import features
from lightmeter.verbs.quantise import export_int8

_SIDE = "160"
_TOGETHER = 32  # pictures in a call, where P9 looks at more than one
_LOST_AT_MOST = {"P6": 0.002, "P9": 0.005}  # of accuracy, for the ratio to count


def _weights() -> Path:
    return data_folder() / "weights" / "mobilenet_v2_1.0_imagenet_backbone.safetensors"


def _trained(source: str, out: Path, seed: int, cache: Path) -> tuple[dict[str, Any], float]:
    """`lightmeter train` of a head on the frozen network for ten epochs, and its wall-clock seconds.

    Each picture is seen as it is, once, as the other side sees it; by default we would score its mirror image too.
    """
    command = [sys.executable, "-m", "lightmeter", "train", source, "--start", str(_weights()), "--recipe", "probe"]
    settings = [
        "--epochs",
        "10",
        "--set",
        f"preprocess.size={_SIDE}",
        "--set",
        "views=1",
        "--seed",
        str(seed),
        "--allow-leak",
    ]
    return answered([*command, *settings, "--out", str(out), "--json"], LIGHTMETER_CACHE=str(cache))


def transfer(quick: bool) -> Outcome:
    """Seconds from the command to the test accuracy: start-up, decoding, ten epochs of the head, evaluation.

    Each of ours decodes anew, from a cache of its own.
    """
    python = python_of("keras")
    ours: list[float] = []
    theirs: list[float] = []
    accuracies: list[tuple[float, float]] = []
    intervals: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        pictures = parted(Path(scratch) / "pictures", 50 if quick else None)
        for pair in range(1 if quick else pairs_worth(0.0)):
            if theirs and pair >= pairs_worth(max(theirs)):
                break
            out, cache = Path(scratch) / f"run-{pair}", Path(scratch) / f"cache-{pair}"
            mine, wall = _trained(str(pictures), out, pair, cache)
            ours.append(wall)
            command = side_command("transfer_keras", str(pictures), str(_weights()), "10", _SIDE, python=python)
            other, wall = answered(command)
            theirs.append(wall)
            accuracies.append((mine["test"]["accuracy"], other["accuracy"]))
            intervals.append((mine["test"]["low"], mine["test"]["high"]))
    lost = float(np.mean([other - mine for mine, other in accuracies]))
    details = {
        "unit": "s",
        "test accuracy": accuracies,
        "interval of ours": intervals,
        "n": mine["test"]["n"],
        "points lost": 100 * lost,
    }
    return Outcome("P6", tuple(ours), tuple(theirs), *ratio(theirs, ours), details, lost <= _LOST_AT_MOST["P6"])


def eight_bits(quick: bool) -> Outcome:
    """Milliseconds for one picture from either bundle, by one call on all cores; without VNNI it has no mark to clear.

    Not by what a server would choose: in 8 bits one core alone answers so many that the choice between one call on all
    cores and one on each is a near tie, which fell either way from start to start, for one picture 1.29 or 1.80 ms.
    The whole row looks at 32 pictures at a time as well.
    """
    seconds, pairs = ("1.5", 3) if quick else ("5", 9)
    with tempfile.TemporaryDirectory() as scratch:
        pictures = parted(Path(scratch) / "pictures", 300 if quick else None)
        run = Path(scratch) / "run"
        _trained(str(pictures), run, 0, Path(scratch) / "cache")
        small = export_int8(run)

        def timed(at_once: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
            commands = (
                ("int8", side_command("answer_ours", str(small.bundle), seconds, at_once)),
                ("float32", side_command("answer_ours", str(run / "model.bundle"), seconds, at_once)),
            )
            with sides(*commands) as (mine, plain):
                return interleave(lambda: mine.go()["value"], lambda: plain.go()["value"], pairs)

        ours, theirs = timed("1")
        details = {
            "unit": "ms",
            "points lost": 100 * small.drop,
            "interval of points lost": [100 * bound for bound in small.drop_interval],
            "n": small.val.n,
            "on test": small.test.summary(),
        }
        if not quick:
            several, alike = timed(str(_TOGETHER))
            together = Outcome("P9", several, alike, *ratio(alike, several))
            details["together"] = {"pictures": _TOGETHER, **together.document()}
    return Outcome("P9", ours, theirs, *ratio(theirs, ours), details, small.drop <= _LOST_AT_MOST["P9"])


P6 = Row(
    "P6",
    "seconds of a transfer from the same MobileNetV2 at 160 px, ten epochs of the head, from command to test accuracy",
    "the Keras transfer-learning guide: the frozen network runs in every epoch",
    6.0,
    9.0,
    "above",
    transfer,
)
P9 = Row(
    "P9",
    "time for one picture, MobileNetV2 at 160 px, in 8 bits",
    "our float32",
    1.8,
    2.5,
    "above",
    eight_bits,
    "" if any(name in features() for name in ("vnni", "amx_int8")) else "the processor has no VNNI",
)

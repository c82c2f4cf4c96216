"""How cost grows with images, their size and classes, and beyond memory: `python -m bench.growth [--quick]`.

Every job is a process of its own on a pack of noise; laws are straight lines through logarithms. The result is kept in
records/ with its figure.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.pairs import ROOT, interleave, ratio, side_command, sides
from lightmeter.verbs.environment import environment
from lightmeter.verbs.reporting.drawing import BLUE, INK, ORANGE, canvas, finish, style

_IMAGES = (1_000, 10_000, 100_000, 1_000_000)
_SIDES = (32, 64, 128, 224)
_CLASSES = (10, 100, 1_000, 10_000)
_LIMIT = 2048  # MiB for the job whose pack does not fit
_BEYOND = (524_288, 64)  # images and their side: 6 GiB


def main() -> None:
    """Measure, fit, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and short measurements, no record")
    parser.add_argument("--note", default="", help="what a reader must know of the circumstances")
    asked = parser.parse_args()
    scale, seconds = (10, "2") if asked.quick else (1, "10")
    grown = {
        "images": [job(n // scale, 32, 10, seconds) for n in _IMAGES],
        "side": [job(10_000 // scale, side, 10, seconds) for side in _SIDES],
        "classes": [job(100_000 // scale, 32, max(2, classes // scale), seconds) for classes in _CLASSES],
    }
    laws = {
        "seconds of an epoch, images": law(grown["images"], "images", "epoch_seconds"),
        "seconds of preparing, images": law(grown["images"], "images", "prepare_seconds"),
        "memory without pictures, images": law(grown["images"], "images", "own_mib"),
        "seconds of an epoch, side": law(grown["side"], "side", "epoch_seconds"),
        "memory without pictures, side": law(grown["side"], "side", "own_mib"),
        "seconds of an epoch, classes": law(grown["classes"], "classes", "epoch_seconds"),
        "memory without pictures, classes": law(grown["classes"], "classes", "own_mib"),
    }
    record = {
        "command": "python -m bench.growth",
        "note": asked.note,
        "jobs": grown,
        "laws": laws,
        "beyond memory": beyond(_BEYOND[0] // scale, seconds, 3 if asked.quick else 5),
    }
    if not asked.quick:
        folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-growth"
        folder.mkdir(parents=True, exist_ok=True)
        told = environment(0)
        told.pop("command", None)  # it names this machine's folders
        (folder / "growth.json").write_text(json.dumps({**record, "environment": told}, indent=1) + "\n")
        draw(grown, folder)
    sys.stdout.write(json.dumps(record) + "\n")


def job(n: int, side: int, classes: int, seconds: str) -> dict[str, Any]:
    """Measure one size."""
    with sides(("ours", side_command("grown", str(n), str(side), str(classes), seconds))) as (one,):
        found = one.go()
        ready = one.ready
    sys.stderr.write(f"{n:,} images of {side} px, {classes:,} classes: {found['value']:,.0f} images/s\n")
    return {
        "images": n,
        "side": side,
        "classes": classes,
        "images_per_second": found["value"],
        "epoch_seconds": n / found["value"],
        "prepare_seconds": ready["open_seconds"] + ready["split_seconds"],
        "own_mib": found["own_mib"],
        "pack_mib": ready["pack_mib"],
        "input_bound": found["input_bound"],
    }


def law(jobs: list[dict[str, Any]], by: str, what: str) -> dict[str, float]:
    """y = factor * x ** power through the jobs, and the largest ratio by which one of them lies off it."""
    x, y = (np.log([one[name] for one in jobs]) for name in (by, what))
    power, start = np.polyfit(x, y, 1)
    off = np.exp(np.abs(y - (power * x + start)).max())
    return {"factor": float(np.exp(start)), "power": float(power), "off_by_at_most": float(off)}


def beyond(n: int, seconds: str, pairs: int) -> dict[str, Any]:
    """Training on a pack in memory and on one three times as large as the memory it may use, in turns."""
    words = (str(n), str(_BEYOND[1]), "10", seconds)
    limit = str(max(1024, _LIMIT * n // _BEYOND[0]))
    with sides(
        ("limited", side_command("grown", *words, limit)),
        ("in memory", side_command("grown", *words)),
    ) as (limited, free):
        for one in (free, limited):  # both have read something
            one.go()
        ours, theirs = interleave(lambda: limited.go()["value"], lambda: free.go()["value"], pairs)
        waited = limited.go()["input_bound"]
        size = limited.ready["pack_mib"]
    between = ratio(ours, theirs)
    return {
        "pack_mib": size,
        "limit_mib": float(limit),
        "ratio": between[0],
        "low": between[1],
        "high": between[2],
        "limited": ours,
        "in memory": theirs,
        "input_bound": waited,
    }


def draw(grown: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Seconds of an epoch and memory against each size, on logarithmic scales."""
    with style("growth"):
        figure = canvas(720, 300)
        names = {"images": "images", "side": "pixels of a side", "classes": "classes"}
        for place, (by, words) in enumerate(names.items(), start=1):
            axes = figure.add_subplot(1, 3, place)
            x = [one[by] for one in grown[by]]
            lines = (("epoch_seconds", BLUE, "epoch, s"), ("own_mib", ORANGE, "memory, MiB"))
            for what, colour, label in (*lines, ("prepare_seconds", INK, "opening, splitting, s"))[
                : 3 if place == 1 else 2
            ]:
                axes.loglog(x, [one[what] for one in grown[by]], color=colour, marker="o", label=label)
            axes.set_xlabel(words)
            if place == 1:
                axes.legend(loc="upper left")
        (folder / "growth.png").write_bytes(finish(figure, "growth", "How cost grows").png)


if __name__ == "__main__":
    main()

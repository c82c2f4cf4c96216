"""How cost grows with images, their size and classes, and beyond memory: `python -m bench.growth [--quick]`.

Every job is a process of its own on a pack of noise. What grows with images or classes is fitted by a constant and a
share of each, what grows with the side by a power of it. The result is kept in records/ with its figure;
`python -m bench.table` tells it in docs/growth.md.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from bench.pairs import ROOT, interleave, ratio, side_command, sides
from lightmeter.verbs.environment import environment
from lightmeter.verbs.reporting.drawing import BLUE, INK, ORANGE, canvas, finish, style

_IMAGES = (1_000, 10_000, 100_000, 1_000_000)
_SIDES = (32, 64, 128, 224)
_CLASSES = (10, 100, 1_000, 10_000)
_LINES = (
    ("images", "epoch_seconds"),
    ("images", "prepare_seconds"),
    ("images", "own_mib"),
    ("classes", "epoch_seconds"),
    ("classes", "own_mib"),
)
_AT_LEAST = 0.8  # of the speed in memory, for a pack beyond it
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
        **{f"{what}, {by}": line(grown[by], by, what) for by, what in _LINES},
        "epoch_seconds, side": power(grown["side"], "side", "epoch_seconds"),
        "own_mib, side": power(grown["side"], "side", "own_mib"),
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


def line(jobs: list[dict[str, Any]], by: str, what: str) -> dict[str, float]:
    """y = constant + each * x, neither below 0, nearest in relative terms, and the largest ratio by which a job lies
    off it.
    """
    x, y = (np.array([one[name] for one in jobs], float) for name in (by, what))
    (constant, each), _ = nnls(np.stack([1 / y, x / y], axis=1), np.ones(len(y)))
    return {"constant": constant, "each": each, "off_by_at_most": _off(y, constant + each * x)}


def power(jobs: list[dict[str, Any]], by: str, what: str) -> dict[str, float]:
    """y = factor * x ** power, and the largest ratio by which a job lies off it."""
    x, y = (np.log([one[name] for one in jobs]) for name in (by, what))
    slope, start = np.polyfit(x, y, 1)
    off = _off(np.exp(y), np.exp(slope * x + start))
    return {"factor": float(np.exp(start)), "power": float(slope), "off_by_at_most": off}


def _off(measured: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    return float(np.exp(np.abs(np.log(fitted / measured)).max()))


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


def words(record: dict[str, Any]) -> str:
    """A record as the tables and sentences of docs/growth.md."""
    head = ("images", "side", "classes", "images/s", "an epoch", "opening and splitting", "memory", "pack", "waited")
    rows = [
        (
            f"{one['images']:,}",
            f"{one['side']} px",
            f"{one['classes']:,}",
            f"{one['images_per_second']:,.0f}",
            f"{one['epoch_seconds']:,.1f} s",
            f"{one['prepare_seconds']:,.2f} s",
            f"{one['own_mib']:,.0f} MiB",
            f"{one['pack_mib']:,.0f} MiB",
            f"{one['input_bound']:.1%}",
        )
        for jobs in record["jobs"].values()
        for one in jobs
    ]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *rows))
    laws, far = record["laws"], record["beyond memory"]

    def of(name: str) -> str:
        law = laws[name]
        off = f"a job lies off by {law['off_by_at_most']:.2f} times at most"
        if "power" in law:
            return f"{law['factor']:.3g} x {name.split()[1]}^{law['power']:.2f} ({off})"
        return f"{law['constant']:.3g} + {law['each']:.3g} x {name.split()[1]} ({off})"

    epoch, own = laws["epoch_seconds, images"], laws["own_mib, images"]
    million = {name: law["constant"] + 1e6 * law["each"] for name, law in (("seconds", epoch), ("mib", own))}
    day = 86_400 / epoch["each"] / 1e6
    cleared = "cleared" if far["low"] >= _AT_LEAST else "missed"
    return f"""
{table}
Memory is what belongs to the process alone, without the pages of the pack, which the system may drop at any time;
waited is the part of the time in which the network waited for pictures. Fitted:

* seconds of an epoch: {of("epoch_seconds, images")}
* seconds of opening a pack and drawing its split: {of("prepare_seconds, images")}
* memory in MiB: {of("own_mib, images")}
* seconds of an epoch of 10,000: {of("epoch_seconds, side")}; above 60 px the first layer takes larger steps
* memory in MiB: {of("own_mib, side")}
* seconds of an epoch of 100,000: {of("epoch_seconds, classes")}
* memory in MiB: {of("own_mib, classes")}

**A pack larger than memory**: {far["pack_mib"]:,.0f} MiB of canvases, in a control group with
{far["limit_mib"]:,.0f} MiB for everything, trained at **{far["ratio"]:.2f}** ({far["low"]:.2f} to {far["high"]:.2f})
times the speed of the same pack in memory ({len(far["limited"])} pairs; the network waited {far["input_bound"]:.0%} of
the time); must {_AT_LEAST:g}: {cleared}.

What this machine can hold, by these laws: a million canvases of 32 px take {million["mib"]:,.0f} MiB of memory and
{million["seconds"] / 60:,.0f} minutes an epoch; in a day it sees {day:,.0f} million canvases, which is twelve epochs of
{day / 12:.1f} million. On the disk a pack takes n x side x side x 3 bytes. Lightmeter trains on one machine: where your
pictures times the epochs they need are more than it sees in the time you have, or the pack is larger than its disk, the
cluster begins.
"""


def draw(grown: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Seconds of an epoch and memory against each size, on logarithmic scales."""
    with style("growth"):
        figure = canvas(720, 300)
        names = {"images": "images", "side": "pixels of a side", "classes": "classes"}
        for place, (by, words) in enumerate(names.items(), start=1):
            axes = figure.add_subplot(1, 3, place)
            x = [one[by] for one in grown[by]]
            axes.set_ylim(0.01, 30_000)  # the same for all three
            lines = (("epoch_seconds", BLUE, "epoch, s"), ("own_mib", ORANGE, "memory, MiB"))
            for what, colour, label in (*lines, ("prepare_seconds", INK, "opening, splitting, s"))[
                : 3 if place == 1 else 2
            ]:
                axes.loglog(x, [one[what] for one in grown[by]], color=colour, marker="o", label=label)
            axes.set_xlabel(words)
            axes.set_xticks(x, [f"{value:,}" for value in x])
            axes.set_xticks([], minor=True)
            if place == 1:
                lines_, labels = axes.get_legend_handles_labels()
        figure.legend(lines_, labels, loc="outside upper center", ncols=3)
        (folder / "growth.png").write_bytes(finish(figure, "growth", "How cost grows").png)


if __name__ == "__main__":
    main()

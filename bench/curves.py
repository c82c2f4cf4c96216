"""Measure the learning curves that the planner goes by: `python -m bench.curves [SET ...]`.

For each set of pictures every width is trained anew for every number of epochs by the recipe `fast`, with one seed, to
the end of its schedule, and scored on validation pictures that none of them learns from; no test split is opened. What
is measured stands in `records/DATE-curves/` after each training, so that a run interrupted on the same day goes on;
`--write` makes `lightmeter/recipes/curves.json` of the newest record of each set.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.progress import SILENT
from lightmeter.nouns.run import Run
from lightmeter.recipes import RECIPES, Facts
from lightmeter.recipes.curves import FORMAT, TABLE
from lightmeter.studies.base import Pictures
from lightmeter.studies.pictures import Materials
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.data import Data
from lightmeter.verbs.environment import environment
from lightmeter.verbs.measure import measure_training
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.mirror import measure_mirror
from lightmeter.verbs.plan import Plan
from lightmeter.verbs.training import Training

ROOT = Path(__file__).resolve().parents[1]
_VAL = 5000  # pictures at most, the same for every n


@dataclass(frozen=True, slots=True)
class Asked:
    """A grid to measure: pictures, how many of them to learn from (0 is all), widths and epochs."""

    source: str
    size: int
    channels: int
    n: int
    widths: tuple[float, ...]
    epochs: tuple[float, ...]


SETS = {
    "cifar10-10000": Asked("cifar10", 32, 3, 10_000, (0.25, 0.5, 1.0), (2.0, 6.0, 18.0)),
    "cifar10-2500": Asked("cifar10", 32, 3, 2_500, (0.25, 0.5, 1.0), (4.0, 12.0)),
    "fashion-mnist-10000": Asked("fashion-mnist", 28, 1, 10_000, (0.25, 0.5), (2.0, 6.0, 18.0)),
    "cifar10": Asked("cifar10", 32, 3, 0, (0.25, 0.5, 0.75), (1.0, 4.0)),
    "tiny-imagenet-20000": Asked("tiny-imagenet", 32, 3, 20_000, (0.25, 0.5), (2.0, 6.0)),
    "imagenette": Asked("imagenette", 64, 3, 0, (0.25, 0.5), (2.0, 6.0)),
}


def main() -> None:
    """Measure the sets named, or all, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="all of them, where none is named")
    parser.add_argument("--write", action="store_true", help="make the table of the records instead of measuring")
    asked = parser.parse_args()
    if asked.write:
        TABLE.write_text(table())
        return
    materials = Materials(progress=SILENT)
    for name in asked.sets or SETS:
        measure(name, SETS[name], materials)


def measure(name: str, asked: Asked, materials: Materials) -> None:
    """Fill a grid's record, cell by cell, the cheap ones first."""
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-curves"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    data, _ = materials.data(Pictures(asked.source, asked.size, asked.channels), 0)
    data = fewer(data, asked.n)
    kept: list[dict[str, Any]] = json.loads(path.read_text())["cells"] if path.exists() else []
    cells = sorted(((width, epochs) for width in asked.widths for epochs in asked.epochs), key=lambda c: c[0] * c[1])
    mirror = bool(measure_mirror(data.pack.some(data.sample), data.pack.labels[data.sample]).safe)
    for width, epochs in cells:
        if any((cell["width"], cell["epochs"]) == (width, epochs) for cell in kept):
            continue
        kept.append(trained(data, width, epochs, mirror))
        about = {key: value for key, value in environment(0).items() if key not in ("command", "seed")}
        record = {
            "command": f"python -m bench.curves {name}",
            "source": asked.source,
            "n": len(data.train_rows),
            "num_classes": len(data.dataset.classes),
            "size": asked.size,
            "validated": len(data.val_rows),
            "cells": kept,
            "environment": about,
        }
        path.write_text(json.dumps(record, indent=1) + "\n")
        sys.stderr.write(f"{name}: {kept[-1]}\n")


def fewer(data: Data, n: int) -> Data:
    """`n` training pictures (0 is all), as many of each class as of the next; validation pictures, 5,000 at most."""
    labels = data.pack.labels
    train = data.train_rows if not n else evenly(data.train_rows, labels, n)
    val = evenly(data.val_rows, labels, _VAL)
    place = {int(row): at for at, row in enumerate(data.val_rows)}
    learning = replace(
        data.learning,
        train=tuple(data.dataset.ids[row] for row in train),
        val=tuple(data.learning.val[place[int(row)]] for row in val),
    )
    return replace(data, learning=learning, train_rows=train, val_rows=val)


def evenly(rows: NDArray[np.int64], labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many, taken from each class in turn."""
    mixed = np.random.default_rng(0).permutation(rows)
    order = np.argsort(labels[mixed], kind="stable")
    _, counts = np.unique(labels[rows], return_counts=True)
    turn = np.concatenate([np.arange(count) for count in counts])
    return np.sort(mixed[order][np.argsort(turn, kind="stable")[:most]])


def trained(data: Data, width: float, epochs: float, mirror: bool) -> dict[str, Any]:
    """One cell: {"width", "epochs", "error"}."""
    facts = Facts(len(data.train_rows), len(data.dataset.classes), data.pack.preprocess, mirror, 0)
    recipe = RECIPES["fast"](facts, epochs=epochs, width=width)
    pixels = data.pixels(2000)
    batch = min(recipe.batch_size, len(data.train_rows))
    execution, _ = measure_training(
        build_prepared(recipe, facts.num_classes, pixels), pixels[:batch], data.labels(batch), batch, seconds=3.0
    )
    with tempfile.TemporaryDirectory() as scratch:
        run = Run.create(Path(scratch) / "run")
        training = Training(
            run, data, Plan(recipe, execution, None, False), None, 0, Clock(time.monotonic(), None), SILENT
        )
        training.learn()
        last = run.epochs()[-1]
    return {"width": width, "epochs": epochs, "error": round(1 - last["val/accuracy"], 5)}


def table() -> str:
    """The text of the package's table, of the newest record of each set that is whole."""
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted(ROOT.glob("records/*-curves/*.json")):
        record = json.loads(path.read_text())
        if len(record["cells"]) == len(SETS[path.stem].widths) * len(SETS[path.stem].epochs):
            newest[path.stem] = record
    if missing := SETS.keys() - newest.keys():
        raise SystemExit(f"No record holds all of {', '.join(sorted(missing))}: run python -m bench.curves with them.")
    found = []
    for name in SETS:
        record = newest[name]
        errors = {(cell["width"], cell["epochs"]): cell["error"] for cell in record["cells"]}
        widths, epochs = (sorted({cell[place] for cell in errors}) for place in (0, 1))
        about = {key: record[key] for key in ("source", "n", "num_classes", "size")}
        grid = [[errors[width, count] for count in epochs] for width in widths]
        found.append({**about, "widths": widths, "epochs": epochs, "errors": grid})
    lines = ",\n  ".join(json.dumps(grid) for grid in found)
    return f'{{\n "format": {FORMAT},\n "grids": [\n  {lines}\n ]\n}}\n'


if __name__ == "__main__":
    main()

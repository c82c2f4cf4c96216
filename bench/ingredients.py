"""What each ingredient of the recipe `fast` is worth in the same time: `python -m bench.ingredients SOURCE SECONDS`.

Trains on 20,000 pictures for so many seconds, with `fast` as it is and with one thing changed, in turns,
with several seeds, and compares errors on 10,000 other training pictures: no test split is opened. Each way gets the
epochs for which its own measured speed leaves time, and is scored by one view of each picture and by more. What is
measured stands in `records/DATE-ingredients/` after each training, so that a run interrupted on the same day goes on.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shlex
import sys
import time
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bench.curves import evenly
from bench.pairs import ROOT, points_apart
from lightmeter.models.views import MultiView
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT
from lightmeter.nouns.recipe import Recipe
from lightmeter.optim import build_optimizer
from lightmeter.optim.ema import EMA
from lightmeter.recipes import RECIPES, Facts
from lightmeter.studies.base import Pictures
from lightmeter.studies.pictures import Materials
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.data import Data
from lightmeter.verbs.environment import environment
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.fit import Averaged, steps, training_mode, validate
from lightmeter.verbs.measure import measure_training
from lightmeter.verbs.meter import build_prepared, training_rate
from lightmeter.verbs.state import Counters, State

_LEARNED, _VALIDATED = 20_000, 10_000
_LOOK = 2.0  # seconds over which a way's speed is measured

ERRORS: dict[str, Literal[1, 2, 6]] = {"error": 1, "error by 2 views": 2, "error by 6 views": 6}
"""Name in the record -> views of each picture."""

Settings = dict[str, str]
"""As for `lightmeter train --set`."""

WAYS: dict[str, Settings] = {
    "fast": {},
    "SGD for the filters, 0.5": {"optimizer.name": "sgd", "optimizer.lr": "0.5"},
    "SGD for the filters, 1.5": {"optimizer.name": "sgd", "optimizer.lr": "1.5"},
    "averaged weights, 0.98": {"ema": "0.98"},
    "batches of 500": {
        "batch_size": "500",
        "optimizer.lr": "0.12",
        "optimizer.bias_lr": "26.5",
        "optimizer.head_lr": "335",
    },
}
"""What is changed of `fast`. Batches of 500 take the rates by the rule of `fast`."""

SOURCES = {"cifar10": Pictures("cifar10", 32, 3), "fashion-mnist": Pictures("fashion-mnist", 28, 1)}


def main() -> None:
    """Run what the record lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=[*SOURCES])
    parser.add_argument("seconds", type=float, help="of each training")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=[*WAYS], default=[*WAYS])
    asked = parser.parse_args()
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-ingredients"
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "bench.ingredients", *sys.argv[1:]])
    about = {key: value for key, value in environment(0).items() if key not in ("command", "seed")}
    path = folder / f"{asked.source}-{asked.seconds:g}s-width-{asked.width:g}.json"
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else []
    data = pictures(asked.source)
    for seed in asked.seeds:
        for name in asked.ways:
            if any((run["by"], run["seed"]) == (name, seed) for run in runs):
                continue
            found = trained(data, WAYS[name], asked.seconds, asked.width, seed)
            runs.append({"by": name, "seed": seed, **found, "command": command, "code": about["code"]})
            sys.stderr.write(f"{runs[-1]}\n")
            record = {
                "source": asked.source,
                "seconds": asked.seconds,
                "width": asked.width,
                "learned": len(data.train_rows),
                "validated": len(data.val_rows),
                "runs": runs,
                "environment": about,
            }
            path.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(path.read_text())


def pictures(source: str) -> Data:
    """Training pictures: some to learn from, others to validate on."""
    data, _ = Materials(progress=SILENT).data(SOURCES[source], 0)
    rows = evenly(np.concatenate([data.train_rows, data.val_rows]), data.pack.labels, _LEARNED + _VALIDATED)
    mixed = np.random.default_rng(0).permutation(rows)
    train, val = np.sort(mixed[:_LEARNED]), np.sort(mixed[_LEARNED:])
    names = data.pack.ids
    learning = replace(data.learning, train=tuple(names[row] for row in train), val=tuple(names[row] for row in val))
    return replace(data, learning=learning, train_rows=train, val_rows=val)


def trained(data: Data, settings: Settings, seconds: float, width: float, seed: int) -> dict[str, Any]:
    """One training and its errors on validation pictures."""
    classes = data.dataset.classes
    facts = Facts(len(data.train_rows), len(classes), data.pack.preprocess, True, seed)
    recipe = RECIPES["fast"](facts, epochs=1.0, width=width).override(settings)
    pixels = data.pixels(2000)
    model = build_prepared(recipe, len(classes), pixels)
    execution, _ = measure_training(model, pixels[:512], data.labels(512), 512, seconds=2.0, cache=cache_folder())
    rate = training_rate(model, recipe, data.batches(recipe), execution, seconds=_LOOK)
    return trained_for(recipe, data.batches(recipe), execution, seconds * rate, classes, pixels)


def trained_for(
    recipe: Recipe,
    batches: Batches,
    execution: Execution,
    images: float,
    classes: tuple[str, ...],
    pixels: Tensor,
) -> dict[str, Any]:
    """The errors after so many images, by one view and by more, and the seconds that training took."""
    model = build_prepared(recipe, len(classes), pixels)
    execution.place(model)
    training_mode(model, ())
    counters = Counters(remaining=images, micro_batch=execution.micro_batch)
    averaged = EMA(model, recipe.ema) if recipe.ema else None
    state = State(model, build_optimizer(model, recipe.optimizer), averaged, counters)
    began = time.perf_counter()
    with execution.pool():
        for _ in steps(state, recipe, batches, execution):
            pass
        took = time.perf_counter() - began
        with Averaged(state), torch.no_grad():
            errors = {
                name: round(1 - validate(MultiView(model, views), batches, execution, classes).accuracy, 5)
                for name, views in ERRORS.items()
            }
    epochs = round(images / batches.n, 2)
    return {**errors, "epochs": epochs, "seconds": round(took, 1), "execution": execution.words}


def words(record: dict[str, Any]) -> str:
    """A record as a table. Differences are of runs with the same seed."""
    runs = record["runs"]
    told = (
        "| | epochs | seconds | error by 1 view | against `fast`, points | error by 6 views | against `fast`, points "
        "| seeds |\n|---|---|---|---|---|---|---|---|\n"
    )
    for way in dict.fromkeys(run["by"] for run in runs):
        own = [run for run in runs if run["by"] == way]
        cells = [f"{np.mean([run[name] for run in own]):.1f}" for name in ("epochs", "seconds")]
        for error in ("error", "error by 6 views"):
            apart = None if way == "fast" else points_apart(runs, way, "fast", error)
            cells.append(f"{100 * np.mean([run[error] for run in own]):.2f} %")
            if apart and apart["low"] == apart["high"]:  # as many seeds gave the same: no interval can be had of them
                cells.append(f"{apart['points']:+.2f} each")
            else:
                cells.append(f"{apart['points']:+.2f} ({apart['low']:+.2f} to {apart['high']:+.2f})" if apart else "-")
        told += f"| {way} | {' | '.join(cells)} | {len(own)} |\n"
    return told


if __name__ == "__main__":
    main()

"""Whether the planner chooses well: `python -m bench.planned SOURCE BUDGET WIDTH [WIDTH ...]`, which keeps a record.

Trains with the planner's own choice, and with each width named, in turns, and compares errors on validation pictures:
no test split decides. The widths named spare themselves the looking, which is in their favour. `cifar10-N` is a folder
of N training pictures of CIFAR-10, with 4,000 others to validate on; the curves were measured on pictures of CIFAR-10
too, so that it says less about others.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.arrays import cifar_folder
from bench.pairs import ROOT, points_apart
from lightmeter.verbs.environment import environment

_VAL, _TEST = 4000, 200


def main() -> None:
    """Run what the record lacks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("budget")
    parser.add_argument("widths", nargs="+", help="to compare with, such as 0.5")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked = parser.parse_args()
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-planned"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{asked.source}-{asked.budget}.json"
    runs: list[dict[str, Any]] = json.loads(path.read_text())["runs"] if path.exists() else []
    for seed in asked.seeds:
        for width in ("planned", *asked.widths):
            if any((run["by"], run["seed"]) == (width, seed) for run in runs):
                continue
            with tempfile.TemporaryDirectory() as scratch:
                source = pictures(asked.source, Path(scratch))
                runs.append({"by": width, "seed": seed, **trained(source, asked.budget, seed, width)})
            sys.stderr.write(f"{runs[-1]}\n")
            about = {key: value for key, value in environment(0).items() if key not in ("command", "seed")}
            record = {
                "command": f"python -m bench.planned {asked.source} {asked.budget} {' '.join(asked.widths)}",
                "against": {
                    by: points_apart(runs, "planned", by) for by in sorted({run["by"] for run in runs} - {"planned"})
                },
                "runs": runs,
                "environment": about,
            }
            path.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(path.read_text())


def pictures(source: str, scratch: Path) -> str:
    """The source itself, or for `cifar10-N` a folder made of it."""
    name, _, count = source.partition("-")
    if name != "cifar10" or not count:
        return source
    return cifar_folder(scratch / "pictures", int(count), _VAL, _TEST)


def trained(source: str, budget: str, seed: int, width: str) -> dict[str, Any]:
    """One run's error on its validation pictures, and what was trained."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        words = ["train", source, "--budget", budget, "--seed", str(seed), "--json", "--out", str(run)]
        fixed = [] if width == "planned" else ["--set", f"model.width={width}"]
        command = [sys.executable, "-m", "lightmeter", *words, *fixed]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        recipe = json.loads((run / "recipe.json").read_text())["recipe"]
    return {
        "error": round(1 - result["val"]["accuracy"], 5),
        "n": result["val"]["n"],
        "width": recipe["model"]["width"],
        "epochs": round(recipe["epochs"], 2),
    }


if __name__ == "__main__":
    main()

"""Train a source with several seeds and keep the evidence: `python -m bench.record digits --budget 30s --seeds 0 1 2`.

Each seed is a fresh process running the public command. The record holds the command, each log, plan, result and peak
memory, the environment, and the mean test accuracy with its 95 % interval over seeds (Student's t). A record is
written anew after every seed, and seeds that stand in it already are kept.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lightmeter.nouns.places import data_folder

ROOT = Path(__file__).resolve().parents[1]
JOBS = (
    ("digits", "30s", ""),
    ("imagenette", "10m", "mobilenet_v2_1.0_imagenet_backbone.safetensors"),
    ("fashion-mnist", "10m", ""),
    ("cifar10", "15m", ""),
)
"""Source, budget and file of start weights of the claims in the guide."""

_PATHS = ("run", "bundle", "report")


def main() -> None:
    """Run the seeds that the record lacks, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", help="all of the jobs below, where none is named")
    parser.add_argument("--budget", help="as for `lightmeter train`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", help="of the record's folder; made from date, source and budget by default")
    parser.add_argument("--note", default="", help="what a reader must know of the circumstances")
    parser.add_argument("--extra", type=shlex.split, default=[], help="further words for `lightmeter train`, in quotes")
    asked = parser.parse_args()
    if asked.source is None:
        _all(asked)
        return
    if asked.budget is None:
        parser.error("--budget is needed with a source")
    _one(asked)


def _all(asked: argparse.Namespace) -> None:
    """Every job whose data set is here; set LIGHTMETER_DATA, and `weights/` in it for the start weights."""
    data = data_folder()
    for source, budget, start in JOBS:
        if source != "digits" and not (data / source).is_dir():
            sys.stderr.write(f"{source}: left out, as it is not in {data}\n")
            continue
        extra = ["--start", str(data / "weights" / start)] if start else []
        _one(argparse.Namespace(**{**vars(asked), "source": source, "budget": budget, "name": None, "extra": extra}))


def _one(asked: argparse.Namespace) -> None:
    name = asked.name or f"{dt.date.today():%Y-%m-%d}-{Path(asked.source).name}-{asked.budget}"
    folder = ROOT / "records" / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    kept: list[dict[str, Any]] = json.loads(path.read_text())["results"] if path.exists() else []
    there = [seed for seed in asked.seeds if any(result["seed"] == seed for result in kept)]
    if there:
        sys.stderr.write(
            f"{folder}: seeds {there} are recorded already; take it away, or give --name, to run them anew\n"
        )
    for seed in dict.fromkeys(asked.seeds):
        if seed not in there:
            kept.append(_run(asked, seed, folder))
            path.write_text(json.dumps(_record(asked, kept, folder), indent=1) + "\n")
    sys.stdout.write(path.read_text())


def _run(asked: argparse.Namespace, seed: int, folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        words = ["train", asked.source, "--budget", asked.budget, "--seed", str(seed), *asked.extra]
        command = [sys.executable, "-m", "lightmeter", *words, "--json", "--out", str(run)]
        began = dt.datetime.now(dt.UTC)
        with open(folder / f"seed-{seed}.log", "w") as log:
            finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, check=True, cwd=ROOT)
        wall = (dt.datetime.now(dt.UTC) - began).total_seconds()
        result = json.loads(finished.stdout.splitlines()[-1])
        for document in ("plan", "environment"):
            text = json.loads((run / f"{document}.json").read_text())
            text.pop("command", None)  # it names this machine's folders
            (folder / f"{document}-{seed}.json").write_text(json.dumps(text, indent=1) + "\n")
        (folder / f"epochs-{seed}.jsonl").write_text((run / "epochs.jsonl").read_text())
    log_path = folder / f"seed-{seed}.log"
    log_path.write_text(log_path.read_text().replace(scratch, "SCRATCH"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child so far
    plain = {key: value for key, value in result.items() if key not in _PATHS}
    return {"seed": seed, "wall_seconds": round(wall, 2), "peak_memory_mib_at_most": round(peak), **plain}


def _record(asked: argparse.Namespace, results: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    accuracies = np.array([result["test"]["accuracy"] for result in results])
    n, mean = len(accuracies), float(accuracies.mean())
    half = float(stats.t.ppf(0.975, n - 1) * accuracies.std(ddof=1) / np.sqrt(n)) if n > 1 else None
    extra = " ".join(Path(word).name if os.sep in word else word for word in asked.extra)
    return {
        "command": f"lightmeter train {asked.source} --budget {asked.budget} --seed SEED {extra}".strip(),
        "note": asked.note,
        "n": n,
        "test_accuracy_mean": mean,
        "test_accuracy_interval_95": None if half is None else [mean - half, mean + half],
        "images_tested": results[0]["test"]["n"],
        "wall_seconds_most": max(result["wall_seconds"] for result in results),
        "environment": json.loads((folder / f"environment-{results[0]['seed']}.json").read_text()),
        "results": results,
    }


if __name__ == "__main__":
    main()

"""One size of job on a made-up pack: `grown.py IMAGES SIDE CLASSES SECONDS [LIMIT_MIB]`.

Writes a pack of noise, opens it, draws its split, and trains the recipe `fast` at half its width on it. With a limit
the process first moves into a group that may use so much memory, pages of files included, so that a larger pack has to
come from the disk again and again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from protocol import answer, images_per_second

from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.nouns.pack import CANVASES, DOCUMENT, HASHES, IDS, LABELS, Pack, lines
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.optim import build_optimizer
from lightmeter.recipes import RECIPES, Facts
from lightmeter.verbs.data import Data
from lightmeter.verbs.fit import steps, training_mode
from lightmeter.verbs.measure import measure_training
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.split import split
from lightmeter.verbs.state import Counters, State

WIDTH = 0.5
_CHUNK = 2**24


def main() -> None:
    """Get ready, then measure when told."""
    n, side, classes, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    if len(sys.argv) > 5:
        confine(int(sys.argv[5]))
    with tempfile.TemporaryDirectory(dir=os.environ.get("LIGHTMETER_BENCH_SCRATCH")) as scratch:
        folder = Path(scratch) / "pack"
        write(folder, n, side, classes)
        began = time.perf_counter()
        packed = Pack.open(folder)
        opened = time.perf_counter()
        dataset = Dataset(
            name="noise",
            classes=tuple(f"class {number}" for number in range(classes)),
            ids=packed.ids,
            hashes=packed.pixel_hashes,
            labels=packed.labels,
            splits=("",) * n,
            groups=("",) * n,
            read=lambda _: b"",
            provenance=Provenance(source="noise", official="own"),
        )
        parts = split(dataset, packed.pixel_hashes)
        drawn = time.perf_counter()
        data = Data(dataset, packed, parts.learning, packed.rows(parts.train), packed.rows(parts.val))
        facts = Facts(len(parts.train), classes, packed.preprocess, True, 0)
        recipe = RECIPES["fast"](facts, epochs=1e6, width=WIDTH)
        some, labels = data.pixels(2000), data.labels(2000)
        model = build_prepared(recipe, classes, some)
        batch = recipe.batch_size
        execution, _ = measure_training(model, some[:batch], labels[:batch], batch, seconds=4.0)
        execution.place(model)
        training_mode(model, ())
        counters = Counters(remaining=1e15, micro_batch=execution.micro_batch)
        state = State(model, build_optimizer(model, recipe.optimizer), None, counters)
        loop = steps(state, recipe, data.batches(recipe), execution)

        def measure() -> dict[str, Any]:
            counters.waited = counters.computed = 0.0
            with execution.pool():
                rate = images_per_second(lambda: next(loop).images, seconds)
            waited = counters.waited / max(1e-9, counters.waited + counters.computed)
            return {"value": rate, "input_bound": waited, "own_mib": own_memory()}

        answer(measure, open_seconds=opened - began, split_seconds=drawn - opened, pack_mib=n * side**2 * 3 / 2**20)


def write(folder: Path, n: int, side: int, classes: int) -> None:
    """A pack of noise, written as `pack` would."""
    folder.mkdir()
    pixels = np.lib.format.open_memmap(folder / CANVASES, "w+", np.uint8, (n, side, side, 3))
    some = max(1, min(n, _CHUNK // (side * side * 3)))
    noise = np.random.default_rng(0).integers(0, 256, (some, side, side, 3), np.uint8)
    for start in range(0, n, some):
        pixels[start : start + some] = noise[: n - start]
    pixels.flush()
    del pixels
    np.save(folder / LABELS, np.arange(n, dtype=np.int64) % classes)
    (folder / IDS).write_bytes(lines(f"class {row % classes}/{row:08d}.jpg" for row in range(n)))
    (folder / HASHES).write_bytes(lines(f"{row:032x}" for row in range(n)))
    told = {
        "format": 1,
        "n": n,
        "dataset": "noise",
        "preprocess": Preprocess(size=side, channels=3).model_dump(mode="json"),
        "files": {file.name: file.stat().st_size for file in folder.iterdir()},
        "notes": {},
        "bad": [],
    }
    (folder / DOCUMENT).write_text(json.dumps(told))


def confine(mebibytes: int) -> None:
    """Move this process into a group with so much memory; needs root and Linux' control groups, version 1 or 2.

    Raises:
        OSError: not here.
    """
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    group = (root / "memory" if first else root) / "lightmeter-bench"
    group.mkdir(exist_ok=True)
    limit = group / ("memory.limit_in_bytes" if first else "memory.max")
    limit.write_text(str(mebibytes * 2**20))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def own_memory() -> float:
    """Memory that belongs to this process alone, MiB: without pages of files, which the system may drop."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()

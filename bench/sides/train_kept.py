"""Images per second of the recipe `fast` on pictures of 32 pixels: `train_kept.py WIDTH SECONDS kept|asked`.

"kept": freed memory is used again, as `lightmeter train` does. "asked": the system is asked for it anew each time, as
the C library does by itself.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import answer, images_per_second, peak_mib
from samples import cifar

from lightmeter.augment import compose
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.optim import build_optimizer
from lightmeter.recipes import RECIPES, Facts
from lightmeter.verbs import execution as executions
from lightmeter.verbs.batches import PixelBatches
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.fit import steps, training_mode
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.state import Counters, State


def main() -> None:
    """Get ready, then measure when told."""
    width, seconds = float(sys.argv[1]), float(sys.argv[2])
    if sys.argv[3] == "asked":
        executions.keep_freed = contextlib.nullcontext
    pixels, labels = cifar(10_000)
    preprocess = Preprocess(size=32, channels=3)
    recipe = RECIPES["fast"](Facts(len(labels), 10, preprocess, True, 0), epochs=10.0, width=width)
    some = torch.from_numpy(pixels[:2000])
    model = build_prepared(recipe, 10, some)
    batch = recipe.batch_size
    execution = Execution("cpu", "float32", "channels_last", batch, torch.get_num_threads())  # the same for both
    execution.place(model)
    training_mode(model, ())
    rows = np.arange(len(labels))
    ids = tuple(map(str, rows))
    packed = Pack(Path("none"), ids, labels, pixels, ids, (), {}, preprocess, "", {})
    batches = PixelBatches(packed, rows, rows[:0], (), 10, compose(recipe.augment), 0.0, 0, execution.device)
    counters = Counters(remaining=1e15, micro_batch=execution.micro_batch)
    loop = steps(State(model, build_optimizer(model, recipe.optimizer), None, counters), recipe, batches, execution)

    def measure() -> dict[str, Any]:
        rate = images_per_second(lambda: next(loop).images, seconds)
        return {"value": rate, "peak_mib": peak_mib()}

    with execution.pool():  # one for all, as in a training
        answer(measure, batch=batch, execution=execution.document())


if __name__ == "__main__":
    main()

"""Images per second of Lightmeter's training loop: `train_ours.py NETWORK BATCH SECONDS`.

The execution is chosen by the meter, as `lightmeter train` chooses it; the input is its packed pictures and its
augmentation of whole batches.
"""

from __future__ import annotations

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
from lightmeter.nouns.recipe import AugmentChoice, ModelChoice, Optimizer, Recipe
from lightmeter.optim import build_optimizer
from lightmeter.verbs.batches import PixelBatches
from lightmeter.verbs.fit import steps, training_mode
from lightmeter.verbs.measure import measure_training
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.state import Counters, State

_MODELS = {
    "vgg3": ModelChoice(name="vgg_blocks", options={"blocks": 3, "batchnorm": True}),
    "resnet18": ModelChoice(name="resnet18"),
}


def main() -> None:
    """Get ready, then measure when told."""
    network, batch, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    pixels, labels = cifar()
    recipe = Recipe(
        model=_MODELS[network],
        preprocess=Preprocess(size=32, channels=3),
        augment=(AugmentChoice(name="flip"), AugmentChoice(name="shift", options={"pixels": 4})),
        optimizer=Optimizer(name="sgd", lr=0.05, bias_lr=0.05, head_lr=0.05, weight_decay=5e-4),
        epochs=1e6,
        batch_size=batch,
    )
    some = torch.from_numpy(pixels[:2000]), torch.from_numpy(labels[:2000])
    model = build_prepared(recipe, 10, some[0])
    execution, _ = measure_training(model, some[0][:batch], some[1][:batch], batch, seconds=6.0)
    execution.place(model)
    training_mode(model, ())
    rows, none = np.arange(len(labels)), np.zeros(0, np.int64)
    ids = tuple(map(str, rows))
    packed = Pack(Path("none"), ids, labels, pixels, ids, (), {}, recipe.preprocess, "", {})
    batches = PixelBatches(packed, rows, none, (), 10, compose(recipe.augment), 0.0, 0, execution.device)
    counters = Counters(remaining=1e15, micro_batch=execution.micro_batch)
    state = State(model, build_optimizer(model, recipe.optimizer), None, counters)
    loop = steps(state, recipe, batches, execution)

    def measure() -> dict[str, Any]:
        with execution.pool():
            rate = images_per_second(lambda: next(loop).images, seconds)
        peak = peak_mib()
        waited = counters.waited / max(1e-9, counters.waited + counters.computed)
        return {"value": rate, "peak_mib": peak, "input_bound": waited}

    parameters = sum(parameter.numel() for parameter in model.parameters())
    answer(measure, torch=torch.__version__, parameters=parameters, execution=execution.document())


if __name__ == "__main__":
    main()

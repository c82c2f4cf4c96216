"""Images per second of Lightmeter's input alone: `pipeline_ours.py FOLDER SIDE augmented|first`.

"augmented": batches of 64 from the pack, cropped, mirrored and with changed colours. "first": decoding a folder into a
new pack.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import answer

from lightmeter.augment import compose
from lightmeter.nouns.glibc import keep_freed
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import AugmentChoice
from lightmeter.sources import open_source
from lightmeter.verbs.batches import PixelBatches
from lightmeter.verbs.pack import pack

BATCH = 64


def main() -> None:
    """Get ready, then measure when told."""
    dataset = open_source(sys.argv[1])
    preprocess = Preprocess(size=int(sys.argv[2]), channels=3)
    scratch = tempfile.TemporaryDirectory()

    def first() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as cache:
            began = time.perf_counter()
            packed = pack(dataset, preprocess, cache=Path(cache))
            return {"value": len(packed.labels) / (time.perf_counter() - began)}

    if sys.argv[3] == "first":
        answer(first)
        return
    packed = pack(dataset, preprocess, cache=Path(scratch.name))
    rows = np.arange(len(packed.labels))
    augment = compose([AugmentChoice(name=name) for name in ("random_resized_crop", "flip", "colour")])
    batches = PixelBatches(packed, rows, rows[:0], (), len(dataset.classes), augment, 0.0, 0, "cpu")

    def epoch(number: int) -> None:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(number))
        for step, chosen in enumerate(order.split(BATCH)):
            batches.train(chosen, number, step)

    epochs = iter(range(1, 1000))
    epoch(0)

    def later() -> dict[str, Any]:
        began = time.perf_counter()
        epoch(next(epochs))
        return {"value": len(rows) / (time.perf_counter() - began)}

    with keep_freed():  # as while a network is computed
        answer(later)


if __name__ == "__main__":
    main()

"""CIFAR-10 decoded once into a file that both sides of a benchmark read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from lightmeter.errors import LightmeterError
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.sources import open_source
from lightmeter.verbs.pack import pack


@contextmanager
def cifar_arrays() -> Iterator[None]:
    """Name the file in the environment for the sides; without the data set they take random pictures of its shape."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            dataset = open_source("cifar10")
        except LightmeterError:
            yield
            return
        packed = pack(dataset, Preprocess(size=32, channels=3), cache=cache_folder())
        test = np.array([part == "test" for part in dataset.splits])
        path = Path(folder) / "cifar.npz"
        pixels, labels = np.asarray(packed.pixels), packed.labels
        np.savez(path, pixels=pixels[~test], labels=labels[~test], test_pixels=pixels[test], test_labels=labels[test])
        os.environ["LIGHTMETER_BENCH_ARRAYS"] = str(path)
        try:
            yield
        finally:
            del os.environ["LIGHTMETER_BENCH_ARRAYS"]


def cifar_folder(folder: Path, train: int, val: int, test: int) -> str:
    """So many of CIFAR-10's training pictures as a folder of PNG files: all three parts are drawn from them."""
    dataset = open_source("cifar10")
    canvases = pack(dataset, Preprocess(size=32, channels=3), cache=cache_folder())
    place = {id: row for row, id in enumerate(canvases.ids)}
    rows = [place[id] for id, part in zip(dataset.ids, dataset.splits, strict=True) if part == "train" and id in place]
    if len(rows) < train + val + test:
        raise ValueError(
            f"{train + val + test:,} training pictures of CIFAR-10 were asked for; there are {len(rows):,}."
        )
    mixed = np.random.default_rng(0).permutation(rows)
    parts = np.repeat(["train", "val", "test"], [train, val, test])
    for part, row in zip(parts, mixed[: len(parts)], strict=True):
        target = folder / part / dataset.classes[canvases.labels[row]] / f"{row}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(canvases.pixels[row]).save(target)
    return str(folder)

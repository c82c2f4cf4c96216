"""Predict: a bundle and pictures -> one Prediction per picture. NumPy, Pillow and a runner; no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BadImageError, DataError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.decoder import READABLE
from lightmeter.nouns.prediction import Prediction
from lightmeter.nouns.preprocess import PIXEL_LIMIT
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.runners import Runner, cores, open_runner
from lightmeter.verbs.verify import probabilities

_LISTED = 20


class Predictor:
    """A bundle opened for answering. Threads may share it."""

    def __init__(self, bundle: Bundle, *, threads: int = 0, runner: Runner | None = None) -> None:
        """Take `runner`, which was opened for this bundle; without one, open the plain one with so many threads."""
        self.bundle = bundle
        self.runner = runner or open_runner(bundle, threads=threads)

    def canvas(self, data: bytes, *, most: int = PIXEL_LIMIT) -> NDArray[np.uint8]:
        """One encoded picture, of which at most so many pixels are decoded -> uint8[S, S, C]. Raises BadImageError."""
        return self.bundle.preprocess.canvas(data, most=most).pixels

    def answer(self, files: Sequence[str], pixels: NDArray[np.uint8], *, topk: int = 5) -> list[Prediction]:
        """uint8[N, S, S, C] -> N predictions, named by `files`."""
        return self.read(files, self.runner(pixels), topk=topk)

    def read(self, files: Sequence[str], logits: NDArray[np.float32], *, topk: int = 5) -> list[Prediction]:
        """float32[N, K], which the graph gave -> N predictions, named by `files`."""
        shares = probabilities(logits, self.bundle.temperature)
        return [self._one(file, row, topk) for file, row in zip(files, shares, strict=True)]

    def _one(self, file: str, shares: NDArray[np.float64], topk: int) -> Prediction:
        if not np.isfinite(shares).all():
            return Prediction.unreadable(file, "the model's answer to this picture is not finite")
        best = np.argsort(-shares, kind="stable")[: max(1, topk)].tolist()
        top = tuple((self.bundle.classes[index], float(shares[index])) for index in best)
        label, probability = top[0]
        threshold = self.bundle.abstain_below
        abstain = probability < threshold
        reason = f"unsure: {probability:.1%} is below the {threshold:.1%} that this model needs" if abstain else ""
        return Prediction(file, label, probability, top, self.bundle.calibrated, abstain, reason)


def predict(
    bundle: Bundle,
    paths: Sequence[Path],
    *,
    batch_size: int = 32,
    topk: int = 5,
    on_bad: Literal["list", "error"] = "list",
    progress: Progress = SILENT,
) -> list[Prediction]:
    """One prediction per file, in the order given; a folder stands for the pictures below it, by name.

    A file named by itself is read whatever its ending; in a folder, endings decide what is a picture.

    Args:
        on_bad: what to do with a file that cannot be read: "list" gives it a Prediction without a label that says
            why; "error" raises once all files have been looked at.

    Raises:
        UsageError: a path that does not exist, or a `topk` or `batch_size` below 1.
        DataError: a folder without pictures, or with "error" the list of what cannot be read.
    """
    if topk < 1 or batch_size < 1:
        raise UsageError(f"topk is {topk} and batch_size is {batch_size}.", "whole numbers from 1 up")
    files = find(paths)
    predictor = Predictor(bundle)
    predictions: list[Prediction] = []
    remaining = iter(files)
    with (
        ThreadPoolExecutor(cores()) as pool,
        progress.track("predict", len(files), "images") as count,
    ):
        while batch := list(islice(remaining, batch_size)):
            canvases = list(pool.map(lambda file: _load(predictor, file), batch))
            predictions += _answer(predictor, batch, canvases, topk)
            count(len(batch))
    bad = [prediction for prediction in predictions if prediction.failed]
    if bad and on_bad == "error":
        listed = "\n".join(f"  {prediction.file}: {prediction.reason}" for prediction in bad[:_LISTED])
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise DataError(f"{len(bad)} of {len(files)} files could not be read:\n{listed}{more}")
    return predictions


def find(paths: Sequence[Path]) -> list[Path]:
    """The files that `paths` stand for. Raises UsageError and DataError as `predict` does."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise UsageError(f"There is no {', no '.join(missing[:_LISTED])}.", "files and folders of pictures")
    return [file for path in paths for file in (_below(path) if path.is_dir() else (path,))]


def _below(folder: Path) -> Iterator[Path]:
    from lightmeter.sources.scan import walk  # brings all sources: a lone picture does not wait for them

    images = walk(folder).images
    if not images:
        raise DataError(f"{folder} holds no pictures.", f"{READABLE}, by its ending")
    return (folder / entry.path for entry in images)


def _load(predictor: Predictor, file: Path) -> NDArray[np.uint8] | str:
    """The canvas, or why there is none."""
    try:
        return predictor.canvas(file.read_bytes())
    except BadImageError as error:
        return error.received
    except OSError as error:
        return f"it could not be read: {error.strerror}"


def _answer(
    predictor: Predictor, files: Sequence[Path], canvases: Sequence[NDArray[np.uint8] | str], topk: int
) -> list[Prediction]:
    names = [os.fsencode(file).decode("utf-8", "replace") for file in files]
    good = [(name, canvas) for name, canvas in zip(names, canvases, strict=True) if not isinstance(canvas, str)]
    answers = iter(
        predictor.answer([name for name, _ in good], np.stack([c for _, c in good]), topk=topk) if good else ()
    )
    return [
        Prediction.unreadable(name, canvas) if isinstance(canvas, str) else next(answers)
        for name, canvas in zip(names, canvases, strict=True)
    ]

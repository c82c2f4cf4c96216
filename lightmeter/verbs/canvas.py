"""canvas: the side and the channels of the canvases that a job learns from and its model will serve."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

from lightmeter.errors import BadImageError
from lightmeter.exporters.onnx import export_seconds
from lightmeter.models import build_model
from lightmeter.models.foreign import choice_of
from lightmeter.models.fused import fused
from lightmeter.models.pretrained import load_start
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import ImageFacts, Preprocess, describe
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.recipes import RECIPES, Facts
from lightmeter.verbs.choose_extraction import choose_extraction
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.finish import finish_seconds
from lightmeter.verbs.makers import preprocess_as_asked
from lightmeter.verbs.request import Request
from lightmeter.verbs.split import sizes
from lightmeter.verbs.start import Start
from lightmeter.verbs.transfer import HEAD_SECONDS

_LOOKED_AT = 64  # pictures whose headers tell the usual size
_SCRATCH_SIZES = (32, 48, 64, 96, 128)
_TRAINED_SIZES = tuple(range(96, 225, 8))
_SHARE = 0.7  # of the budget that features and scoring may take: larger pictures are worth more than a few epochs
_VIEWED = ("views", "feature_views", "feature_mirror")  # of the settings, what says how often a picture is looked at
_MARGIN = 1.05  # on what reading a few took
_DECODED = 16  # of those looked at, but no more than take
_DECODING_SECONDS = 0.5
_COMPARED_SECONDS = 2.5e-4  # for each picture: its check, and the search for others that are nearly the same
_PLANNING_SECONDS = 3.0  # for measuring again at the side that was chosen


def choose_preprocess(
    dataset: Dataset, request: Request, clock: Clock, start: Start | None = None, progress: Progress = SILENT
) -> Preprocess:
    """Canvas size and channels: native for small pictures, else what the budget and the start weights suggest.

    Weights of our own bring their canvas with them. Others were trained at up to 224 pixels and see best there, even
    where pictures must be enlarged, so that they get the largest canvas for which the budget leaves time.
    """
    facts = list(_headers(dataset))
    sides = sorted(min(fact.width, fact.height) for fact in facts)
    usual = sides[len(sides) // 2] if sides else 64
    grey = bool(facts) and all(fact.mode in ("L", "1", "I;16") for fact in facts)
    if start is not None and start.preprocess is not None:
        preprocess = start.preprocess
    elif start is not None:
        asked = "preprocess.size" in request.settings
        size = 224 if asked else _for_trained_weights(dataset, usual, start, request.settings, clock, progress)
        preprocess = Preprocess(size=size, channels=3)
    elif usual <= 48:
        preprocess = Preprocess(size=max(8, usual), channels=1 if grey else 3)
    else:
        minutes = (clock.budget or 600.0) / 60
        wanted = 64 if minutes < 20 else 96 if minutes < 60 else 128
        size = max(side for side in _SCRATCH_SIZES if side <= min(wanted, usual))
        preprocess = Preprocess(size=size, channels=1 if grey else 3)
    return preprocess_as_asked(preprocess, request.settings)


def _for_trained_weights(
    dataset: Dataset, usual: int, start: Start, settings: dict[str, str], clock: Clock, progress: Progress
) -> int:
    """The largest side at which features and scoring take no more than their share of the budget.

    Measured at the largest side; the others take time as their areas do. Without a budget, the pictures' own side.
    """
    if clock.budget is None:
        return min(_TRAINED_SIZES[-1], max(_TRAINED_SIZES[0], round(usual / 32) * 32))
    largest = _TRAINED_SIZES[-1]
    train, val, test = sizes(dataset.splits, len(dataset.classes))
    choice = start.model or choice_of(start.path)
    model = build_model(choice, max(2, len(dataset.classes)), channels=3, size=largest)
    load_start(model, start.path)
    pixels = torch.randint(0, 256, (max(16, 4 * torch.get_num_threads()), largest, largest, 3), dtype=torch.uint8)
    quick = fused(model, pixels[:4])
    facts = Facts(train, len(dataset.classes), Preprocess(size=largest, channels=3), mirror=True, seed=0)
    recipe = RECIPES["probe"](facts, epochs=1.0, start=start.identity, model=choice).override(
        {name: value for name, value in settings.items() if name in _VIEWED}
    )
    views = (train + val) * recipe.views_for_features
    reading = _reading_seconds(dataset)

    def left(export: float) -> float:
        """Seconds for features and scoring, as of now."""
        after = clock.left - finish_seconds(export, 0, 1.0)
        return min(_SHARE * after, after - reading - _PLANNING_SECONDS - HEAD_SECONDS)

    extraction = choose_extraction(
        quick,
        pixels,
        views,
        seconds=min(4.0, 0.01 * clock.budget),
        cache=cache_folder(),
        most=left(export_seconds(model)),
        progress=progress,
    )
    scoring = extraction.scoring_rate(quick, pixels, recipe.views, seconds=min(1.0, 0.005 * clock.budget))
    at_largest = views / extraction.rate + (val + test) / scoring
    seconds = {side: at_largest * (side / largest) ** 2 for side in _TRAINED_SIZES}
    most = left(extraction.export_seconds(model))
    side = max((side for side in _TRAINED_SIZES if seconds[side] <= most), default=_TRAINED_SIZES[0])
    progress.say(
        f"Canvases of {side} pixels: features and scoring take about {seconds[side]:.0f} s of the "
        f"{clock.budget:.0f} s" + ("." if side == largest else f", at {largest} pixels {seconds[largest]:.0f} s.")
    )
    return side


def _reading_seconds(dataset: Dataset) -> float:
    """About what decoding all pictures on all cores and comparing them with each other takes, by decoding a few."""
    largest, times = Preprocess(size=_TRAINED_SIZES[-1], channels=3), []
    for id in _some(dataset)[:: _LOOKED_AT // _DECODED]:
        with contextlib.suppress(BadImageError, OSError):
            start = time.thread_time()
            largest.canvas(dataset.read(id))
            times.append(time.thread_time() - start)
            if sum(times) > _DECODING_SECONDS:
                break
    each = sum(times) / max(1, len(times)) / torch.get_num_threads()
    return _MARGIN * len(dataset) * (each + _COMPARED_SECONDS)


def _headers(dataset: Dataset) -> Iterator[ImageFacts]:
    """What the headers of some pictures say; unreadable ones are the pack's affair."""
    for id in _some(dataset):
        with contextlib.suppress(BadImageError, OSError):
            yield describe(dataset.read(id))


def _some(dataset: Dataset) -> list[str]:
    """Ids spread over the data, but for a part that the source holds out: of that not even headers are looked at."""
    held_out = next((name for name in ("test", "val") if name in dataset.splits), None)
    ids = [id for id, part in zip(dataset.ids, dataset.splits, strict=True) if part != held_out]
    return ids[:: max(1, len(ids) // _LOOKED_AT)]

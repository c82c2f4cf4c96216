"""Which canvas a job gets."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.nouns.dataset import Dataset
from lightmeter.sources import open_source
from lightmeter.verbs import canvas
from lightmeter.verbs.canvas import choose_preprocess
from lightmeter.verbs.choose_extraction import Extraction
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.request import Request
from lightmeter.verbs.start import Start, open_start


def folder(path: Path, side: int, mode: str = "RGB") -> Dataset:
    for number in range(12):
        place = path / f"class {number % 2}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (side, side + 9, 3), np.uint8)
        Image.fromarray(noise).convert(mode).save(place)
    return open_source(str(path))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    torch.manual_seed(0)
    model = MODELS["mobilenet_v2"](2, channels=3, size=96)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file({name: tensor for name, tensor in model.state_dict().items() if "classifier" not in name}, path)
    return open_start(str(path))


def chosen(dataset: Dataset, start: Start | None, budget: float | None, **settings: str) -> tuple[int, int]:
    request = Request.parse({"source": "pictures", "settings": settings})
    found = choose_preprocess(dataset, request, Clock(time.monotonic(), budget), start)
    return found.size, found.channels


def test_small_pictures_keep_their_side_and_grey_ones_their_channel(tmp_path: Path) -> None:
    assert chosen(folder(tmp_path / "a", 28, "L"), None, 60.0) == (28, 1)
    assert chosen(folder(tmp_path / "b", 40), None, 60.0) == (40, 3)


@pytest.mark.parametrize(("budget", "side"), [(300.0, 64), (1800.0, 96), (7200.0, 128)])
def test_large_pictures_from_scratch_get_more_pixels_with_more_time(tmp_path: Path, budget: float, side: int) -> None:
    assert chosen(folder(tmp_path / "a", 200), None, budget) == (side, 3)


def test_trained_weights_see_enlarged_pictures_where_there_is_time(tmp_path: Path, start: Start) -> None:
    dataset = folder(tmp_path / "a", 50, "L")
    assert chosen(dataset, start, 7200.0) == (224, 3)
    assert chosen(dataset, start, 1.0) == (96, 3)  # no time for anything: the smallest
    assert chosen(dataset, start, None) == (96, 3)  # without a budget the pictures' own side, within limits
    assert chosen(folder(tmp_path / "b", 160), start, None) == (160, 3)


def test_what_the_user_sets_is_taken(tmp_path: Path, start: Start) -> None:
    dataset = folder(tmp_path / "a", 50)
    assert chosen(dataset, start, 7200.0, **{"preprocess.size": "128"}) == (128, 3)
    with pytest.raises(RecipeError, match="size"):
        chosen(dataset, None, 60.0, **{"preprocess.size": "large"})


def test_the_canvas_leaves_time_to_read_the_pictures(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = folder(tmp_path / "a", 50)
    assert chosen(dataset, start, 3600.0) == (224, 3)
    monkeypatch.setattr(canvas, "_reading_seconds", lambda dataset: 3600.0)
    assert chosen(dataset, start, 3600.0) == (96, 3)


def test_reading_more_pictures_takes_longer(tmp_path: Path) -> None:
    few = folder(tmp_path / "a", 50)
    texts = {name: getattr(few, name) * 1000 for name in ("ids", "hashes", "splits", "groups")}
    many = replace(few, labels=np.tile(few.labels, 1000), **texts)
    assert canvas._reading_seconds(many) > 100 * canvas._reading_seconds(few) > 0


def test_the_canvas_is_chosen_for_as_many_features_as_the_plan_will_ask_for(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, choose = [], canvas.choose_extraction

    def choosing(quick: Model, pixels: Tensor, views: int, **options: Any) -> Extraction:
        asked.append(views)
        return choose(quick, pixels, views, **options)

    monkeypatch.setattr(canvas, "choose_extraction", choosing)
    dataset = folder(tmp_path / "a", 50)
    chosen(dataset, start, 60.0)
    chosen(dataset, start, 60.0, feature_mirror="false")
    chosen(dataset, start, 60.0, feature_views="5")
    parted = replace(dataset, splits=("train", "val", "test") * 4)
    chosen(parted, start, 60.0, feature_mirror="false")
    assert asked == [2 * 10, 10, 7 * 10, 8]  # of 12 pictures a fifth is held out

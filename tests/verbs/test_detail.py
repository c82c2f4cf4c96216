"""Parts of a data set that another program has shrunk are noticed, without their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmeter.nouns.preprocess import Preprocess
from lightmeter.sources import open_source
from lightmeter.verbs.check import check
from lightmeter.verbs.detail import detail
from lightmeter.verbs.pack import pack

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "nearest": Image.Resampling.NEAREST}


def photos(root: Path, held_out: str) -> Path:
    """120 random scenes per part, shrunk from 64 to 16 pixels: train bilinear, the held-out part as told."""
    generator = np.random.default_rng(0)
    for part, method in (("train", "bilinear"), ("test", held_out)):
        for number in range(120):
            scene = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            picture = Image.fromarray(scene).resize((64, 64), Image.Resampling.BICUBIC)
            path = root / part / f"class {number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((16, 16), FILTERS[method]).save(path)
    return root


@pytest.mark.parametrize("held_out", sorted(FILTERS))
def test_a_part_that_was_shrunk_otherwise_is_said(held_out: str, tmp_path: Path) -> None:
    dataset = open_source(str(photos(tmp_path / "photos", held_out)))
    packed = pack(dataset, Preprocess(size=16, channels=3), cache=tmp_path / "cache")
    said = [warning for warning in check(dataset, packed).warnings if "fine detail" in warning]
    assert len(said) == (held_out == "nearest")
    assert not any("fine detail" in warning for warning in check(dataset).warnings)  # bytes alone cannot tell


def test_detail_is_the_mean_difference_from_a_blurred_copy() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 7, 7, 3), dtype=np.uint8)
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    found = []
    for picture in pixels.astype(float).mean(axis=3):
        for row in range(1, 6):
            for column in range(1, 6):
                window = picture[row - 1 : row + 2, column - 1 : column + 2]
                found.append(abs(window[1, 1] - (window * weights).sum()))
    assert detail(pixels) == pytest.approx(np.mean(found), rel=1e-5)

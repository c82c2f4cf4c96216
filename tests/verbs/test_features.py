"""Cached features, and a head that is folded onto them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lightmeter.models import MODELS
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.sources import open_source
from lightmeter.verbs.features import features, fold, standardise
from lightmeter.verbs.pack import pack
from tests.verbs.learning import PLAIN


def test_features_are_the_models_under_each_view_and_come_from_the_cache_again(tmp_path: Path) -> None:
    dataset = open_source("digits")
    packed = pack(dataset, Preprocess(size=32, channels=3), cache=cache_folder())
    torch.manual_seed(0)
    model = MODELS["mobilenet_v2"](10, channels=3, size=32, width=0.25)
    rows = np.arange(40)[::-1].copy()
    found = features(model, packed, rows, PLAIN, mirror=True, start="none@0", cache=tmp_path)
    pixels = torch.from_numpy(packed.pixels[rows])
    model.eval()
    with torch.no_grad():
        for view, some in zip(found, (pixels, pixels.flip(2)), strict=True):
            torch.testing.assert_close(view, model.features(some), atol=1e-3, rtol=1e-3)
    kept = list((tmp_path / "features").iterdir())
    assert len(kept) == 1
    other = MODELS["mobilenet_v2"](10, channels=3, size=32, width=0.25)  # the cache, not this model, is asked
    again = features(other, packed, rows, PLAIN, mirror=True, start="none@0", cache=tmp_path)
    assert torch.equal(found, again)
    features(other, packed, rows, PLAIN, mirror=True, start="other@0", cache=tmp_path)
    assert len(list((tmp_path / "features").iterdir())) == 2
    with torch.no_grad():
        other.get_submodule("features.normalise").std.mul_(2)  # type: ignore[operator]
    features(other, packed, rows, PLAIN, mirror=True, start="none@0", cache=tmp_path)  # sees other pixels
    assert len(list((tmp_path / "features").iterdir())) == 3
    kept[0].write_bytes(b"damaged")
    torch.testing.assert_close(
        features(model, packed, rows, PLAIN, mirror=True, start="none@0", cache=tmp_path), found, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize(
    "head",
    [
        nn.Linear(7, 4),
        nn.Linear(7, 4, bias=False),
        nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, 4)).eval(),
    ],
    ids=["linear", "without bias", "hidden"],
)
def test_a_folded_head_reads_plain_features(head: nn.Module) -> None:
    plain = torch.randn(2, 50, 7) * 3 + 2
    plain[..., 6] = 1.0  # a constant feature
    mean, deviation = standardise(plain, head)
    expected = head((plain - mean) / deviation)
    fold(head, mean, deviation)
    torch.testing.assert_close(head(plain), expected, atol=1e-4, rtol=1e-4)

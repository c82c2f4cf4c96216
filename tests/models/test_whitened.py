"""The whitened network: what its first layer does to real patches, at every canvas size, always the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits, load_sample_image

from lightmeter.models.whitened import Whitened, whitened


def photo_crops(size: int, count: int) -> torch.Tensor:
    """Crops of scikit-learn's photograph of China, uint8[count, size, size, 3]."""
    photo = load_sample_image("china.jpg")
    places = np.random.default_rng(0).integers(0, 400 - size, (count, 2))
    return torch.from_numpy(np.stack([photo[y : y + size, x : x + size] for y, x in places]))


def test_whitened_patches_have_unit_variance_and_no_correlation() -> None:
    pixels = photo_crops(32, 500)
    model = whitened(10, channels=3, size=32)
    model.prepare(pixels)
    with torch.no_grad():
        out = F.conv2d(model.normalise(pixels), model.whiten.weight)
    flat = out[:, :12].transpose(0, 1).flatten(1)
    covariance = (flat @ flat.T) / flat.shape[1]
    # Directions of little variance stay below 1, as noise is not blown up.
    assert covariance.diagonal().max() == pytest.approx(1, abs=0.02)
    off = covariance - torch.diag(covariance.diagonal())
    assert off.abs().max() < 0.02
    torch.testing.assert_close(out[:, 12:], -out[:, :12])


def test_normalisation_is_learnt_from_the_data() -> None:
    pixels = photo_crops(32, 200)
    model = whitened(10, channels=3, size=32)
    model.prepare(pixels)
    planes = model.normalise(pixels)
    torch.testing.assert_close(planes.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(planes.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [8, 11, 28, 32, 48, 64, 96, 160, 224])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_canvas_size_keeps_the_maps_small_and_the_logits_finite(size: int, channels: int) -> None:
    model = whitened(5, channels=channels, size=size, width=0.25)
    pixels = torch.randint(0, 256, (4, size, size, channels), dtype=torch.uint8)
    model.prepare(pixels)
    model.eval()
    assert torch.isfinite(model(pixels)).all()
    assert model.whiten(model.normalise(pixels)).shape[-1] <= 47


def test_a_flat_grey_data_set_stays_finite() -> None:
    model = whitened(2, channels=1, size=8)
    pixels = torch.full((8, 8, 8, 1), 7, dtype=torch.uint8)
    model.prepare(pixels)
    assert torch.isfinite(model(pixels)).all()


def test_preparing_is_the_same_every_time() -> None:
    digits = load_digits().images[:200]
    pixels = torch.from_numpy(np.round(digits * 255 / 16).astype(np.uint8)[..., None])
    first, second = (Whitened(10, channels=1, size=8, width=0.25) for _ in range(2))
    first.prepare(pixels)
    torch.manual_seed(3)
    second.prepare(pixels)
    assert torch.equal(first.whiten.weight, second.whiten.weight)


def test_the_width_dial_scales_every_stage() -> None:
    narrow, wide = (whitened(10, channels=3, size=32, width=width) for width in (0.5, 2.0))
    assert [stage.conv2.out_channels for stage in narrow.stages] == [32, 128, 128]  # type: ignore[union-attr]
    assert [stage.conv2.out_channels for stage in wide.stages] == [128, 512, 512]  # type: ignore[union-attr]

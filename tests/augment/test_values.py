"""Crops, rectangles and colours, against Pillow and loops over pictures and pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from lightmeter.augment import BatchContext
from lightmeter.augment.colour import Colour, at_once
from lightmeter.augment.counter import generator_of
from lightmeter.augment.crop import RandomResizedCrop, sampled
from lightmeter.augment.erase import Erase
from lightmeter.augment.sharpness import Sharpness


def smooth(n: int, size: int, channels: int) -> torch.Tensor:
    """Pictures with structure at all scales, so that a resizing error shows."""
    noise = torch.rand((n, channels, size, size), generator=generator_of(5))
    for kernel in (3, 5):
        noise = noise + torch.nn.functional.avg_pool2d(noise, kernel, 1, kernel // 2)
    noise = (noise - noise.amin()) / (noise.amax() - noise.amin())
    return (255 * noise).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def context(n: int) -> BatchContext:
    return BatchContext(torch.arange(n), 0, 0, 2)


def apply(augmentation: object, pixels: torch.Tensor, drawn: dict[str, torch.Tensor]) -> NDArray[np.uint8]:
    result, _ = augmentation.apply(pixels, torch.eye(2)[torch.arange(len(pixels)) % 2], drawn)  # type: ignore[attr-defined]
    array: NDArray[np.uint8] = result.numpy()
    return array


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (37, 3), (33, 1)])
def test_a_crop_is_what_pillow_cuts_and_resizes(size: int, channels: int) -> None:
    pixels = smooth(12, size, channels)
    crop = RandomResizedCrop(min_area=0.1, max_ratio=2)
    drawn = crop.draw(pixels.shape, context(12), generator_of(1))
    result = apply(crop, pixels, drawn)
    for index, (top, left, tall, wide) in enumerate(drawn["box"].tolist()):
        for channel in range(channels):
            picture = Image.fromarray(pixels[index, top : top + tall, left : left + wide, channel].numpy())
            expected = np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.int64)
            difference = np.abs(result[index, :, :, channel].astype(np.int64) - expected)
            assert difference.max() <= 2  # Pillow rounds between its two passes
            assert difference.mean() < 0.4


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (33, 1)])
def test_a_gpu_crops_the_same(size: int, channels: int) -> None:
    pixels = smooth(12, size, channels)
    crop = RandomResizedCrop(min_area=0.1, max_ratio=2)
    drawn = crop.draw(pixels.shape, context(12), generator_of(1))
    at_once = sampled(pixels, drawn["box"]).numpy().astype(np.int64)  # on the processor: its values are what matters
    difference = np.abs(at_once - apply(crop, pixels, drawn))
    assert difference.max() <= 1
    assert difference.mean() < 0.2  # the one rounds bytes between its two passes


def test_a_crop_of_everything_changes_nothing() -> None:
    pixels = smooth(3, 19, 3)
    crop = RandomResizedCrop(min_area=1, max_ratio=1)
    drawn = crop.draw(pixels.shape, context(3), generator_of(1))
    np.testing.assert_array_equal(apply(crop, pixels, drawn), pixels.numpy())


def test_crops_have_the_areas_and_shapes_asked_for_and_lie_inside() -> None:
    n = 20_000
    side = 1000  # so large that whole pixels hardly show
    drawn = RandomResizedCrop(0.3, 1.25).draw(torch.Size((n, side, side, 3)), context(n), generator_of(2))
    top, left, tall, wide = drawn["box"].double().div(side).unbind(1)
    assert top.min() >= 0
    assert left.min() >= 0
    assert (top + tall).max() <= 1 + 1e-6
    assert (left + wide).max() <= 1 + 1e-6
    area, ratio = tall * wide, wide / tall
    assert area.min() >= 0.3 / 1.25 - 2e-3  # a cut box loses area
    assert ratio.min() >= 1 / 1.25 - 4e-3
    assert ratio.max() <= 1.25 + 4e-3
    assert area[(tall < 1) & (wide < 1)].min() >= 0.3 - 2e-3
    assert area.mean().item() == pytest.approx(0.64, abs=0.02)  # 0.65, less what was cut
    assert ratio.log().mean().item() == pytest.approx(0, abs=0.01)
    assert ((top + tall / 2).mean().item(), (left + wide / 2).mean().item()) == pytest.approx((0.5, 0.5), abs=0.01)


@pytest.mark.parametrize("fill", ["noise", "mean", "zero"])
@pytest.mark.parametrize("shape", [(9, 16, 16, 3), (8, 13, 13, 1), (8, 9, 14, 3)])
def test_erase_paints_one_rectangle(shape: tuple[int, ...], fill: str) -> None:
    pixels = torch.randint(1, 256, shape, generator=generator_of(4), dtype=torch.uint8)
    erase = Erase(fill=fill, probability=0.7)  # type: ignore[arg-type]
    drawn = erase.draw(pixels.shape, context(shape[0]), generator_of(5))
    result = apply(erase, pixels, drawn)
    for index, (top, left, bottom, right) in enumerate(drawn["box"].tolist()):
        expected = pixels[index].numpy().copy()
        for row in range(top, bottom):
            for column in range(left, right):
                for channel in range(shape[3]):
                    paint = {
                        "noise": int(drawn["noise"][0, row, column, channel]),
                        "mean": round(float(pixels[index, :, :, channel].double().mean())),
                        "zero": 0,
                    }
                    expected[row, column, channel] = paint[fill]
        np.testing.assert_array_equal(result[index], expected)


def test_rectangles_have_the_share_areas_and_places_asked_for() -> None:
    n, size = 20_000, 100
    erase = Erase(probability=0.4, min_area=0.05, max_area=0.2, max_ratio=2)
    top, left, bottom, right = erase.draw(torch.Size((n, size, size, 3)), context(n), generator_of(6))["box"].T
    assert min(top.min().item(), left.min().item()) == 0
    assert max(bottom.max().item(), right.max().item()) == size
    area = ((bottom - top) * (right - left)).double() / size**2
    assert (area > 0).double().mean().item() == pytest.approx(0.4, abs=0.015)
    painted = area > 0
    assert area[painted].min() >= 0.045
    assert area[painted].max() <= 0.21
    assert area[painted].mean().item() == pytest.approx(0.125, abs=0.002)
    ratio = ((right - left)[painted] / (bottom - top)[painted]).log()
    assert ratio.abs().max() <= math.log(2) + 0.1
    centre = (top + bottom)[painted].double().mean() / 2 / size
    assert centre.item() == pytest.approx(0.5, abs=0.01)


def test_noise_is_even_over_all_bytes_and_new_for_each_batch() -> None:
    shape = torch.Size((2, 100, 100, 3))
    first, second = (Erase().draw(shape, context(2), generator_of(seed))["noise"] for seed in (1, 2))
    assert not torch.equal(first, second)
    assert (first.min(), first.max()) == (0, 255)
    assert first.double().mean().item() == pytest.approx(127.5, abs=2)


def coloured(picture: NDArray[np.uint8], brightness: float, contrast: float, saturation: float) -> NDArray[np.float64]:
    """The slow twin: three steps, pixel by pixel."""
    luma = (0.299, 0.587, 0.114) if picture.shape[2] == 3 else (1.0,)
    height, width, channels = picture.shape
    values = picture.astype(np.float64) * brightness
    mean = sum(
        luma[channel] * values[row, column, channel]
        for row in range(height)
        for column in range(width)
        for channel in range(channels)
    ) / (height * width)
    values = mean + contrast * (values - mean)
    for row in range(height):
        for column in range(width):
            grey = sum(luma[channel] * values[row, column, channel] for channel in range(channels))
            for channel in range(channels):
                values[row, column, channel] = grey + saturation * (values[row, column, channel] - grey)
    return values.clip(0, 255)


@pytest.mark.parametrize("shape", [(5, 12, 12, 3), (5, 9, 9, 1), (3, 7, 11, 3)])
def test_colour_is_brightness_then_contrast_then_saturation(shape: tuple[int, ...]) -> None:
    pixels = torch.randint(0, 256, shape, generator=generator_of(7), dtype=torch.uint8)
    colour = Colour(0.4, 0.6, 0.8)
    drawn = colour.draw(pixels.shape, context(shape[0]), generator_of(8))
    result, exact = apply(colour, pixels, drawn), apply(colour, pixels.float(), drawn)
    for index in range(shape[0]):
        factors = [drawn[name][index].item() for name in ("brightness", "contrast", "saturation")]
        expected = coloured(pixels[index].numpy(), *factors)
        np.testing.assert_allclose(exact[index], expected, atol=2e-3)
        np.testing.assert_allclose(result[index], expected, atol=1)  # for bytes OpenCV counts in whole numbers


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpu_colours_the_same(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = smooth(6, 20, channels)
    colour = Colour(0.4, 0.6, 0.8)
    drawn = colour.draw(pixels.shape, context(6), generator_of(8))
    expected = apply(colour, pixels.float(), drawn)
    seen: list[Any] = []
    original = at_once
    monkeypatch.setattr("lightmeter.augment.colour.at_once", lambda *given: seen.append(given) or original(*given))
    colour.apply(pixels.to("meta"), torch.zeros(6, 2), {name: value.to("meta") for name, value in drawn.items()})
    assert len(seen) == 1  # whatever is not on the processor goes that way
    factors = [drawn[name] for name in ("brightness", "contrast", "saturation")]
    luma = torch.tensor((0.299, 0.587, 0.114) if channels == 3 else (1.0,))
    scale = (factors[0] * factors[1]).view(-1, 1, 1)
    matrix = scale * torch.lerp(luma.expand(channels, channels), torch.eye(channels), factors[2].view(-1, 1, 1))
    found = at_once(pixels.float(), matrix, factors[0] * (1 - factors[1]), luma)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_colour_factors_are_even_within_their_bounds() -> None:
    n = 20_000
    drawn = Colour(0.1, 0.3, 0.0).draw(torch.Size((n, 8, 8, 3)), context(n), generator_of(9))
    for name, spread in (("brightness", 0.1), ("contrast", 0.3)):
        assert drawn[name].min().item() == pytest.approx(1 - spread, abs=0.001)
        assert drawn[name].max().item() == pytest.approx(1 + spread, abs=0.001)
        assert drawn[name].mean().item() == pytest.approx(1, abs=0.01)
    assert torch.equal(drawn["saturation"], torch.ones(n))
    assert abs(np.corrcoef(drawn["brightness"], drawn["contrast"])[0, 1]) < 0.03


def test_colour_of_nothing_changes_nothing() -> None:
    pixels = smooth(3, 16, 3)
    colour = Colour(0, 0, 0)
    drawn = colour.draw(pixels.shape, context(3), generator_of(1))
    np.testing.assert_array_equal(apply(colour, pixels, drawn), pixels.numpy())


@pytest.mark.parametrize(("size", "channels"), [(9, 3), (12, 1)])
def test_sharpness_adds_what_blurring_takes_away(size: int, channels: int) -> None:
    pixels = torch.randint(60, 190, (6, size, size, channels), generator=generator_of(3), dtype=torch.uint8)
    sharpness = Sharpness(share=0.5, least=-1.0, most=2.0)
    drawn = sharpness.draw(pixels.shape, context(6), generator_of(4))
    result = apply(sharpness, pixels.float(), drawn)
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    for index, amount in enumerate(drawn["amount"].tolist()):
        picture = np.pad(pixels[index].numpy().astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
        for row in range(size):
            for column in range(size):
                window = picture[row : row + 3, column : column + 3]
                blurred = (window * weights[..., None]).sum((0, 1))
                expected = window[1, 1] + amount * (window[1, 1] - blurred)
                np.testing.assert_allclose(result[index, row, column], expected.clip(0, 255), atol=1e-3)


def test_sharpness_changes_the_share_that_was_asked_for_by_even_amounts() -> None:
    n = 20_000
    amount = Sharpness(share=0.75, least=0.0, most=2.0).draw(torch.Size((n, 8, 8, 3)), context(n), generator_of(9))[
        "amount"
    ]
    changed = amount[amount != 0]
    assert len(changed) / n == pytest.approx(0.75, abs=0.01)
    assert changed.mean().item() == pytest.approx(1.0, abs=0.02)
    assert changed.min().item() >= 0.0
    assert changed.max().item() <= 2.0

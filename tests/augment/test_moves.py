"""Mirrored and moved pictures, against loops over pictures and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightmeter.augment import BatchContext
from lightmeter.augment.counter import generator_of
from lightmeter.augment.moves import AlternatingFlip, Flip, Shift
from lightmeter.errors import RecipeError

SHAPES = [(6, 8, 8, 3), (5, 13, 13, 1), (4, 9, 17, 3)]


def pictures(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randint(0, 256, shape, generator=generator_of(99), dtype=torch.uint8)


def context(n: int, epoch: int = 0, seed: int = 0) -> BatchContext:
    return BatchContext(torch.arange(n), epoch, 0, 2, seed)


def targets(n: int) -> torch.Tensor:
    return torch.eye(2)[torch.arange(n) % 2]


@pytest.mark.parametrize("shape", SHAPES)
def test_flip_mirrors_columns_of_those_drawn(shape: tuple[int, ...]) -> None:
    pixels, mirrored = pictures(shape), torch.arange(shape[0]) % 2 == 0
    result, same = Flip().apply(pixels, targets(shape[0]), {"mirrored": mirrored})
    for index, picture in enumerate(pixels.numpy()):
        expected = picture[:, ::-1] if mirrored[index] else picture
        np.testing.assert_array_equal(result[index].numpy(), expected)
    assert torch.equal(same, targets(shape[0]))


def test_flip_mirrors_the_share_asked_for() -> None:
    n = 10_000
    for probability in (0.0, 0.25, 0.5, 1.0):
        drawn = Flip(probability).draw(torch.Size((n, 8, 8, 3)), context(n), generator_of(1))
        share = drawn["mirrored"].double().mean().item()
        assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / n) ** 0.5)


def test_alternating_flip_shows_both_sides_in_any_two_epochs() -> None:
    n, shape = 10_000, torch.Size((10_000, 8, 8, 3))

    def sides(epoch: int, seed: int = 0) -> torch.Tensor:
        return AlternatingFlip().draw(shape, context(n, epoch, seed), generator_of(epoch))["mirrored"]

    assert torch.equal(sides(0), ~sides(1))
    assert torch.equal(sides(0), sides(2))
    assert sides(0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (sides(0, 1) == sides(0, 2)).double().mean().item() == pytest.approx(0.5, abs=0.02)


def test_alternating_flip_knows_pictures_by_row_in_any_order() -> None:
    rows = torch.tensor([7, 3, 3, 100])
    shape = torch.Size((4, 8, 8, 3))
    mixed = AlternatingFlip().draw(shape, BatchContext(rows, 0, 5, 2, 0), generator_of(1))["mirrored"]
    sorted_ = AlternatingFlip().draw(torch.Size((101, 8, 8, 3)), context(101), generator_of(2))["mirrored"]
    assert torch.equal(mixed, sorted_[rows])


def shifted(picture: NDArray[np.uint8], down: int, right: int, border: str) -> NDArray[np.uint8]:
    """The slow twin: pad, then cut."""
    reach = max(abs(down), abs(right), 1)
    mode = "reflect" if border == "reflect" else "constant"
    padded = np.pad(picture, ((reach, reach), (reach, reach), (0, 0)), mode=mode)  # type: ignore[call-overload]
    height, width = picture.shape[:2]
    cut: NDArray[np.uint8] = padded[reach + down : reach + down + height, reach + right : reach + right + width]
    return cut


@pytest.mark.parametrize("border", ["reflect", "zero"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shift_is_pad_and_cut(shape: tuple[int, ...], border: str) -> None:
    pixels = pictures(shape)
    for pixels_moved in (1, 3, 7):
        shift = Shift(pixels_moved, border)  # type: ignore[arg-type]
        drawn = shift.draw(pixels.shape, context(shape[0]), generator_of(pixels_moved))
        result, _ = shift.apply(pixels, targets(shape[0]), drawn)
        for index, (down, right) in enumerate(drawn["offset"].tolist()):
            expected = shifted(pixels[index].numpy(), down, right, border)
            np.testing.assert_array_equal(result[index].numpy(), expected)


def test_shift_draws_every_move_as_often() -> None:
    n = 25_000
    offset = Shift(2).draw(torch.Size((n, 8, 8, 3)), context(n), generator_of(3))["offset"]
    counts = torch.bincount(5 * (offset[:, 0] + 2) + offset[:, 1] + 2, minlength=25).double()
    assert ((counts - n / 25).square() / (n / 25)).sum() < 51.2  # chi-squared, 24 degrees of freedom, p = 0.001


def test_shift_by_nothing_changes_nothing() -> None:
    pixels = pictures((3, 8, 8, 3))
    drawn = Shift(0).draw(pixels.shape, context(3), generator_of(0))
    assert torch.equal(Shift(0).apply(pixels, targets(3), drawn)[0], pixels)


def test_shift_beyond_the_picture_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"pixels=8 on pictures of 8.\nExpected: less than 8"):
        Shift(8).draw(torch.Size((2, 8, 8, 3)), context(2), generator_of(0))

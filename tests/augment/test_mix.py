"""Two pictures in one, against loops over pictures and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightmeter.augment import BatchContext
from lightmeter.augment.counter import generator_of
from lightmeter.augment.mix import Cutmix, Mixup

SHAPES = [(7, 12, 12, 3), (6, 9, 9, 1), (5, 7, 11, 3)]


def batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.randint(0, 256, shape, generator=generator_of(1), dtype=torch.uint8)
    return pixels, torch.eye(10)[torch.arange(shape[0])]


def context(n: int) -> BatchContext:
    return BatchContext(torch.arange(n), 0, 0, 10)


@pytest.mark.parametrize("shape", SHAPES)
def test_mixup_blends_pictures_and_targets_alike(shape: tuple[int, ...]) -> None:
    pixels, targets = batch(shape)
    mixup = Mixup(alpha=1.0)
    drawn = mixup.draw(pixels.shape, context(shape[0]), generator_of(2))
    mixed, blended = mixup.apply(pixels, targets, drawn)
    for index in range(shape[0]):
        other, share = int(drawn["other"][index]), float(drawn["share"][index])
        expected = share * pixels[index].double() + (1 - share) * pixels[other].double()
        np.testing.assert_allclose(mixed[index].numpy(), expected.numpy(), atol=0.501)
        torch.testing.assert_close(blended[index], share * targets[index] + (1 - share) * targets[other])


@pytest.mark.parametrize("shape", SHAPES)
def test_cutmix_pastes_a_box_and_mixes_targets_by_its_area(shape: tuple[int, ...]) -> None:
    pixels, targets = batch(shape)
    cutmix = Cutmix()
    drawn = cutmix.draw(pixels.shape, context(shape[0]), generator_of(3))
    mixed, blended = cutmix.apply(pixels, targets, drawn)
    for index in range(shape[0]):
        other = int(drawn["other"][index])
        top, left, bottom, right = drawn["box"][index].tolist()
        expected, pasted = pixels[index].clone(), 0
        for row in range(top, bottom):
            for column in range(left, right):
                expected[row, column] = pixels[other, row, column]
                pasted += 1
        assert torch.equal(mixed[index], expected)
        share = 1 - pasted / (shape[1] * shape[2])
        torch.testing.assert_close(blended[index], share * targets[index] + (1 - share) * targets[other])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    n = 20_000
    share = Mixup(alpha).draw(torch.Size((n, 8, 8, 3)), context(n), generator_of(4))["share"].double()
    variance = 1 / (4 * (2 * alpha + 1))
    assert share.mean().item() == pytest.approx(0.5, abs=4 * (variance / n) ** 0.5)
    assert share.var().item() == pytest.approx(variance, rel=0.04)
    assert share.min() >= 0
    assert share.max() <= 1


def test_cutmix_keeps_about_half_and_boxes_lie_inside() -> None:
    n = 20_000
    drawn = Cutmix().draw(torch.Size((n, 32, 32, 3)), context(n), generator_of(5))
    top, left, bottom, right = drawn["box"].T
    assert min(top.min().item(), left.min().item()) == 0
    assert max(bottom.max().item(), right.max().item()) == 32
    assert ((bottom >= top) & (right >= left)).all()
    # Without edges the mean share kept would be 1/2; cutting off what reaches beyond them keeps more.
    assert 0.5 < drawn["share"].mean().item() < 0.75


@pytest.mark.parametrize("kind", [Mixup, Cutmix])
def test_the_probability_holds_and_others_stay_whole(kind: type[Mixup] | type[Cutmix]) -> None:
    n = 5_000
    pixels = torch.randint(0, 256, (n, 8, 8, 1), generator=generator_of(1), dtype=torch.uint8)
    targets = torch.eye(2)[torch.arange(n) % 2]
    augmentation = kind(alpha=1.0, probability=0.3)
    drawn = augmentation.draw(pixels.shape, context(n), generator_of(6))
    alone = drawn["share"] == 1
    assert alone.double().mean().item() == pytest.approx(0.7, abs=0.04)
    mixed, blended = augmentation.apply(pixels, targets, drawn)
    assert torch.equal(mixed[alone], pixels[alone])
    assert torch.equal(blended[alone], targets[alone])


@pytest.mark.parametrize("kind", [Mixup, Cutmix])
def test_partners_are_a_permutation(kind: type[Mixup] | type[Cutmix]) -> None:
    other = kind().draw(torch.Size((100, 8, 8, 3)), context(100), generator_of(7))["other"]
    assert torch.equal(other.sort().values, torch.arange(100))
    assert not torch.equal(other, torch.arange(100))

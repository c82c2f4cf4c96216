"""What every augmentation promises, for each name in `AUGMENTATIONS`."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from lightmeter.augment import AUGMENTATIONS, BatchContext, compose
from lightmeter.augment.counter import generator_of
from lightmeter.errors import RecipeError
from lightmeter.nouns.recipe import AugmentChoice

CLASSES = 4
every_augmentation = pytest.mark.parametrize("name", sorted(AUGMENTATIONS))

WRONG = {
    "alternating_flip": [],
    "colour": [{"brightness": -0.1}, {"contrast": 1.5}, {"saturation": "much"}],
    "cutmix": [{"alpha": 0.0}, {"probability": 1.1}],
    "erase": [{"probability": 2}, {"min_area": 0.5, "max_area": 0.2}, {"max_ratio": 0.5}, {"fill": "blue"}],
    "flip": [{"probability": -1}, {"probability": True}],
    "mixup": [{"alpha": -1.0}, {"probability": "often"}],
    "random_resized_crop": [{"min_area": 0.0}, {"min_area": 2.0}, {"max_ratio": 0.9}],
    "sharpness": [{"share": 1.5}, {"least": -2.0}, {"most": "much"}, {"least": 1.0, "most": 0.5}],
    "shift": [{"pixels": -1}, {"pixels": 1.5}, {"border": "wrap"}],
}
"""Options that each must refuse."""


def batch(n: int = 8, size: int = 16, channels: int = 3) -> tuple[Tensor, Tensor]:
    pixels = torch.randint(0, 256, (n, size, size, channels), generator=generator_of(7), dtype=torch.uint8)
    return pixels, torch.eye(CLASSES)[torch.arange(n) % CLASSES]


def run(
    name: str, pixels: Tensor, targets: Tensor, *, epoch: int = 0, step: int = 0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    context = BatchContext(torch.arange(len(pixels)), epoch, step, CLASSES)
    return compose([AugmentChoice(name=name)])(pixels, targets, context, seed)


@every_augmentation
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 13, 32])
@pytest.mark.parametrize("n", [1, 8])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_type_bounds_and_targets_hold(name: str, channels: int, size: int, n: int, dtype: torch.dtype) -> None:
    pixels, targets = batch(n, size, channels)
    pixels[:, : size // 2] = 255  # extremes show a missing bound
    pixels[:, :2] = 0
    for step in range(4):
        result, mixed = run(name, pixels.to(dtype), targets, step=step)
        assert result.shape == pixels.shape
        assert result.dtype == dtype
        assert result.is_contiguous()
        assert result.isfinite().all()
        assert result.min() >= 0
        assert result.max() <= 255
        assert mixed.shape == targets.shape
        assert mixed.dtype == torch.float32
        assert mixed.min() >= 0
        torch.testing.assert_close(mixed.sum(dim=1), torch.ones(n))


@every_augmentation
def test_bytes_and_floats_agree(name: str) -> None:
    pixels, targets = batch()
    whole, exact = run(name, pixels, targets)[0], run(name, pixels.float(), targets)[0]
    quick = name in ("colour", "random_resized_crop")  # their kernels for bytes count in whole numbers
    assert (whole.float() - exact).abs().max() <= (1.01 if quick else 0.501)
    assert (whole.float() - exact).abs().mean() <= 0.3  # of exact rounding: 0.25


@every_augmentation
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_arguments_are_left_alone(name: str, dtype: torch.dtype) -> None:
    pixels, targets = (part.clone() for part in batch())
    pixels = pixels.to(dtype)
    before = pixels.clone(), targets.clone()
    result, _ = run(name, pixels, targets)
    assert torch.equal(pixels, before[0])
    assert torch.equal(targets, before[1])
    result.add_(1)  # what comes back may be changed too
    assert torch.equal(pixels, before[0])


@every_augmentation
def test_it_changes_something(name: str) -> None:
    pixels, targets = batch()
    assert not torch.equal(run(name, pixels, targets)[0], pixels)


@every_augmentation
def test_the_counters_alone_decide(name: str) -> None:
    pixels, targets = batch(64)
    first = [run(name, pixels, targets, epoch=epoch, step=step)[0] for epoch in (0, 1) for step in (0, 1)]
    torch.manual_seed(123)
    random.seed(5)
    again = [run(name, pixels, targets, epoch=epoch, step=step)[0] for epoch in (1, 0) for step in (1, 0)][::-1]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)  # whatever ran before, in whatever order
    if name == "alternating_flip":
        assert torch.equal(first[0], first[1])  # a picture's side is one for the whole epoch
        assert not torch.equal(first[0], first[2])
    else:
        assert len({one.numpy().tobytes() for one in first}) == 4
    assert not torch.equal(first[0], run(name, pixels, targets, seed=1)[0])


@every_augmentation
def test_global_generators_are_left_alone(name: str) -> None:
    before = torch.random.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    run(name, *batch())
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert repr(np.random.get_state()) == before[2]  # noqa: NPY002


@every_augmentation
def test_apply_is_pure(name: str) -> None:
    part = AUGMENTATIONS[name]()
    pixels, targets = batch()
    drawn = part.draw(pixels.shape, BatchContext(torch.arange(8), 0, 0, CLASSES), generator_of(1))
    kept = {key: value.clone() for key, value in drawn.items()}
    first, second = part.apply(pixels, targets, drawn), part.apply(pixels, targets, drawn)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert all(torch.equal(drawn[key], kept[key]) for key in kept)


@every_augmentation
def test_wrong_options_are_refused(name: str) -> None:
    for options in WRONG[name]:
        with pytest.raises(RecipeError, match=f"{name} was given"):
            compose([AugmentChoice(name=name, options=options)])
    with pytest.raises(RecipeError, match="no option 'strength'"):
        compose([AugmentChoice(name=name, options={"strength": 1})])


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RecipeError, match=r"(?s)no augmentation called 'flipp'.*alternating_flip"):
        compose([AugmentChoice(name="flipp")])


@every_augmentation
def test_a_batch_of_many_chunks_is_what_it_would_be_at_once(name: str) -> None:
    part = AUGMENTATIONS[name]()
    pixels, targets = batch(83, 96)  # 27,648 bytes each, of which 37 are a chunk
    context = BatchContext(torch.arange(83), 1, 2, CLASSES, 5)
    whole = part.apply(pixels, targets, part.draw(pixels.shape, context, generator_of(5, 1, 2, 0)))
    result = compose([AugmentChoice(name=name)])(pixels, targets, context, 5)
    assert (result[0].int() - whole[0].int()).abs().max() <= 1  # where a sum of another length rounds differently
    assert torch.equal(result[1], whole[1])


def test_parts_run_in_order_each_with_draws_of_its_own() -> None:
    pixels, targets = batch(32)
    context = BatchContext(torch.arange(32), 2, 9, CLASSES)
    choices = [AugmentChoice(name="shift"), AugmentChoice(name="shift"), AugmentChoice(name="flip")]
    together = compose(choices)(pixels, targets, context, 3)[0]
    once = compose(choices[:1])(pixels, targets, context, 3)[0]
    shift, flip = AUGMENTATIONS["shift"](), AUGMENTATIONS["flip"]()
    expected = once
    for place, part in ((1, shift), (2, flip)):
        expected = part.apply(expected, targets, part.draw(pixels.shape, context, generator_of(3, 2, 9, place)))[0]
    assert torch.equal(together, expected)
    offsets = [shift.draw(pixels.shape, context, generator_of(3, 2, 9, place))["offset"] for place in (0, 1)]
    assert not torch.equal(offsets[0], offsets[1])


def test_no_augmentation_hands_the_batch_on() -> None:
    pixels, targets = batch()
    context = BatchContext(torch.arange(8), 0, 0, CLASSES)
    assert compose([])(pixels, targets, context, 0) == (pixels, targets)


def test_own_augmentations_are_imported_by_name() -> None:
    pixels, targets = batch()
    context = BatchContext(torch.arange(8), 0, 0, CLASSES)
    own = compose([AugmentChoice(name="lightmeter.augment.moves:Flip", options={"probability": 1.0})])
    assert torch.equal(own(pixels, targets, context, 0)[0], pixels.flip(2))

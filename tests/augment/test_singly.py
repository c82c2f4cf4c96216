"""One by one, and in several threads, changes nothing but the time."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Barrier

import pytest
import torch

from lightmeter.augment import AUGMENTATIONS, BatchContext, compose
from lightmeter.augment.base import Singly
from lightmeter.augment.counter import generator_of
from lightmeter.augment.singly import Picture, one_by_one
from lightmeter.nouns.recipe import AugmentChoice

SINGLY = sorted(name for name, builder in AUGMENTATIONS.items() if isinstance(builder(), Singly))


@pytest.fixture(params=[1, 2, 4])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr("lightmeter.augment.singly._WORTH_THREADS", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def pictures(n: int, channels: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randint(0, 256, (n, 20, 20, channels), generator=generator_of(3)).to(dtype)


def test_those_that_opencv_computes_go_one_by_one() -> None:
    assert SINGLY == ["alternating_flip", "colour", "flip", "random_resized_crop"]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_all_at_once_is_one_after_another(n: int, channels: int, dtype: torch.dtype, threads: int) -> None:
    pixels = pictures(n, channels, dtype)
    before, targets, context = pixels.clone(), torch.zeros(n, 2), BatchContext(torch.arange(n), 1, 0, 2)
    augment = compose([AugmentChoice(name=name) for name in [*SINGLY, *reversed(SINGLY)]])
    expected = pixels
    for place, part in enumerate(augment.parts):
        drawn = part.draw(pixels.shape, context, generator_of(0, 1, 0, place))
        expected, _ = part.apply(expected, targets, drawn)
    found, _ = augment(pixels, targets, context, 0)
    assert torch.equal(found, expected)
    assert torch.equal(pixels, before)
    assert n == 0 or not torch.equal(found, before)


def test_a_picture_that_stays_as_it_is_is_a_copy(threads: int) -> None:
    pixels = pictures(4, 3, torch.uint8)
    found = one_by_one(pixels.numpy(), [lambda place, picture, room: picture])
    assert torch.equal(found, pixels)
    assert found.data_ptr() != pixels.data_ptr()


def test_what_goes_wrong_in_a_thread_is_raised(threads: int) -> None:
    def fail(place: int, picture: Picture, room: Picture) -> Picture:
        if place == 7:
            raise ValueError("the eighth")
        return picture

    with pytest.raises(ValueError, match="the eighth"):
        one_by_one(pictures(8, 3, torch.uint8).numpy(), [fail])


def test_a_batch_is_shared_out_among_threads(threads: int) -> None:
    met = Barrier(threads)  # each share holds one picture, and waits for all the others

    def wait(place: int, picture: Picture, room: Picture) -> Picture:
        met.wait(timeout=30)
        return picture

    pixels = pictures(threads, 3, torch.uint8)
    assert torch.equal(one_by_one(pixels.numpy(), [wait]), pixels)


def test_pictures_may_come_as_arrays_wherever_they_lie(threads: int) -> None:
    pixels, targets, context = pictures(6, 3, torch.uint8), torch.zeros(6, 2), BatchContext(torch.arange(6), 1, 0, 2)
    apart = [picture.copy() for picture in pixels.numpy()]
    for picture in apart:
        picture.flags.writeable = False  # as those of a pack are
    for first in SINGLY:
        augment = compose([AugmentChoice(name=name) for name in (first, "shift", "colour")])
        assert augment.singly
        assert torch.equal(augment(apart, targets, context, 0)[0], augment(pixels, targets, context, 0)[0])
    assert not compose([AugmentChoice(name="shift")]).singly

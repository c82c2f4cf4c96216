"""A runner whose calls go side by side answers as one call does."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmeter import runners
from lightmeter.errors import BundleError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import open_runner, open_side_by_side
from lightmeter.runners.side_by_side import SideBySide


def sums(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.reshape(len(pixels), 27).astype(np.float32).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n", [0, 1, 5, 32, 33])
@pytest.mark.parametrize("lanes", [1, 2, 16])
def test_each_picture_is_answered_once_and_in_its_place(n: int, lanes: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, 3, 3), dtype=np.uint8)
    assert np.array_equal(SideBySide(sums, lanes)(pixels), sums(pixels))


def test_so_many_calls_run_at_a_time() -> None:
    together = threading.Barrier(3, timeout=30)  # no call ends before all three have begun

    def wait(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        together.wait()
        return sums(pixels)

    assert SideBySide(wait, 3)(np.zeros((3, 3, 3, 3), np.uint8)).shape == (3, 1)


def test_a_call_that_fails_is_told() -> None:
    def fail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise BundleError("no answer")

    with pytest.raises(BundleError, match="no answer"):
        SideBySide(fail, 2)(np.zeros((3, 3, 3, 3), np.uint8))


def test_a_bundle_answers_the_same_to_the_last_bit(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "cores", lambda: 2)
    several = open_side_by_side(bundle)
    assert isinstance(several, SideBySide)
    side, channels = bundle.preprocess.size, bundle.preprocess.channels
    pixels = np.random.default_rng(0).integers(0, 256, (37, side, side, channels), dtype=np.uint8)
    assert np.array_equal(several(pixels), open_runner(bundle, threads=1)(pixels))
    monkeypatch.setattr(runners, "cores", lambda: 1)
    assert not isinstance(open_side_by_side(bundle), SideBySide)

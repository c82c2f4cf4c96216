"""Signatures against their slow obvious twin; copies are found, strangers and look-alikes are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.fft import dctn

from lightmeter.nouns.likeness import COLOUR, CROWD, FEW, NEAR, near_duplicates, signatures
from tests.nouns.photographs import EDITS, photographs

PLACES = [(i, j) for i in range(10) for j in range(10) if 0 < i + j < 10]


def of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return signatures(pixels, np.arange(len(pixels)))


def values_of(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.array([[half - 8 for byte in row[:27] for half in (int(byte) >> 4, int(byte) & 15)] for row in packed])


def colours_of(signature: NDArray[np.uint8]) -> list[int]:
    return [half - 8 for byte in signature[27:] for half in (int(byte) >> 4, int(byte) & 15)]


def slow_colours(picture: NDArray[np.uint8]) -> list[int]:
    half, found = (len(picture) + 1) // 2, []
    for top in (0, len(picture) - half):
        for left in (0, len(picture) - half):
            red, green, blue = (float(v) for v in picture[top : top + half, left : left + half].mean(axis=(0, 1)))
            grey = 0.299 * red + 0.587 * green + 0.114 * blue
            found += [max(-7, min(7, round((value - grey) / 16))) for value in (red, blue)]
    return found


def slow_values(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """One picture after the other: enlarge, average into 32 x 32 cells, cosines, round."""
    rows = []
    for picture in pixels:
        size = len(picture)
        luma = picture[..., 0].astype(float)
        if picture.shape[2] == 3:
            luma = np.floor((77.0 * picture[..., 0] + 150.0 * picture[..., 1] + 29.0 * picture[..., 2]) / 256)
        large = np.repeat(np.repeat(luma, 32, axis=0), 32, axis=1)
        cells = large.reshape(32, size, 32, size).mean(axis=(1, 3))
        spectrum = dctn(cells)
        weighed = np.array([spectrum[i, j] * (i + j) ** 0.75 for i, j in PLACES])
        rows.append(np.clip(np.rint(weighed / np.abs(weighed).mean() * 7 / 2.5), -7, 7))
    return np.array(rows, np.int64)


def slow_near_duplicates(asked: NDArray[np.uint8], seen: NDArray[np.uint8], ratio: float) -> list[int]:
    """Every picture with every other, and its mirror image."""
    turned = np.array([-1 if j % 2 else 1 for _, j in PLACES])
    result = []
    for own in values_of(asked):
        likeness = []
        for other in values_of(seen):
            length = np.linalg.norm(own) * np.linalg.norm(other)
            likeness.append(max(own @ other, own @ (other * turned)) / length)
        order = np.argsort(likeness)[::-1]
        distance = [1 - likeness[row] for row in order]
        found = likeness[order[0]] >= NEAR and distance[0] <= ratio * distance[CROWD]
        result.append(int(order[0]) if found else -1)
    for row, twin in enumerate(result):
        if twin >= 0:
            one, other = colours_of(asked[row]), colours_of(seen[twin])
            turned_other = [other[at] for at in (2, 3, 0, 1, 6, 7, 4, 5)]  # right and left change places
            apart = min(np.abs(np.subtract(one, which)).mean() for which in (other, turned_other))
            if any(one) and any(other) and 16 * apart > COLOUR:
                result[row] = -1
    return result


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 1), (32, 3), (47, 3), (96, 3)])
def test_a_signature_is_its_slow_twin(size: int, channels: int) -> None:
    pixels = photographs(15, size, seed=size, channels=channels)
    found, slow = values_of(of(pixels)), slow_values(pixels)
    assert found.shape == slow.shape == (15, 54)
    assert np.abs(found - slow).max() <= 1  # float32 may round a step the other way
    assert (found != slow).mean() < 0.005


@pytest.mark.parametrize("size", [9, 32])
def test_the_colours_are_their_slow_twin(size: int) -> None:
    pixels = photographs(40, size, seed=size)
    assert [colours_of(row) for row in of(pixels)] == [slow_colours(picture) for picture in pixels]
    assert not np.any([colours_of(row) for row in of(pixels[..., :1])])


def test_the_same_pattern_in_other_colours_is_no_copy() -> None:
    pixels = photographs(200, 32, seed=12)
    blue = pixels[:50].copy()
    blue[..., 0], blue[..., 2] = blue[..., 0] // 3, np.minimum(255, blue[..., 2].astype(int) + 110)
    assert (near_duplicates(of(blue), of(pixels)) >= 0).mean() < 0.1
    assert near_duplicates(of(blue), of(np.concatenate([blue, pixels[50:]]))).tolist() == list(range(50))


def test_rows_are_read_in_the_order_asked_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photographs(30, 32, seed=1)
    whole = of(pixels)
    monkeypatch.setattr("lightmeter.nouns.likeness._CHUNK", 4 * 32 * 32 * 7)
    np.testing.assert_array_equal(signatures(pixels, np.array([20, 3, 29, 3])), whole[[20, 3, 29, 3]])
    np.testing.assert_array_equal(of(pixels), whole)


def test_the_search_is_its_slow_twin() -> None:
    from lightmeter.nouns.likeness import _halves, ratio

    pixels = photographs(150, 32, seed=2)
    asked = np.concatenate(
        [photographs(20, 32, seed=3)] + [np.stack([edit(p) for p in pixels[:5]]) for edit in EDITS.values()]
    )
    seen, own = of(pixels), of(asked)
    share = ratio(*_halves(seen))
    assert near_duplicates(own, seen).tolist() == slow_near_duplicates(own, seen, share)


HARD = ("shifted by 1", "shifted by 2", "cropped by 2")
"""A pixel is a thirty-second of a picture of 32: how often these are found there is measured for the docs."""


@pytest.mark.parametrize(
    ("name", "size"), [(name, size) for name in EDITS for size in (32, 64) if size > 32 or name not in HARD]
)
def test_copies_are_found_whatever_was_done_to_them(name: str, size: int) -> None:
    pixels = photographs(400, size, seed=4)
    copies = np.stack([EDITS[name](picture) for picture in pixels[:100]])
    hits = (near_duplicates(of(copies), of(pixels)) == np.arange(100)).mean()
    assert hits >= (0.9 if name in HARD else 0.99)


def test_strangers_are_not_taken_for_copies() -> None:
    found = near_duplicates(of(photographs(500, 32, seed=5)), of(photographs(1500, 32, seed=6)))
    assert (found >= 0).sum() <= 2


def test_pictures_that_are_all_alike_are_no_copies_of_each_other() -> None:
    """One shape in a few widths, heights and brightnesses, as product photographs are: a real copy is still found."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32] - 15.5
    a, b, turn = (random.uniform(low, high, (1500, 1, 1)) for low, high in ((6, 12), (6, 12), (-0.4, 0.4)))
    shape = ((x + turn * y) / a) ** 2 + (y / b) ** 2 < 1
    shade = random.uniform(0.6, 1, (1500, 1, 1)) * (200 + 1.5 * y)
    noise = random.normal(0, 4, (1500, 32, 32))
    pixels = np.clip(shape * shade + noise, 0, 255).astype(np.uint8)[..., None]
    seen, asked = of(pixels[:1000]), of(pixels[1000:])
    assert (near_duplicates(asked, seen) >= 0).mean() <= 0.02
    assert near_duplicates(seen[:100], seen).tolist() == list(range(100))


def test_plain_pictures_are_like_nothing() -> None:
    plain = np.full((3, 32, 32, 1), 200, np.uint8)
    plain[1, :, :16] += 2
    assert not of(plain).any()
    assert near_duplicates(of(plain), of(np.concatenate([plain, photographs(60, 32, 7, 1)]))).tolist() == [-1, -1, -1]


def test_a_picture_is_known_again_at_another_size_and_in_grey() -> None:
    from tests.nouns.photographs import image

    large = photographs(200, 96, seed=8)
    small = np.stack([np.asarray(image(picture).resize((40, 40))) for picture in large])
    grey = np.stack([np.asarray(image(picture).convert("L"))[..., None] for picture in small])
    for other in (small, grey):
        assert (near_duplicates(of(other), of(large)) == np.arange(200)).mean() >= 0.99


def test_among_few_only_what_is_sure_counts() -> None:
    pixels = photographs(FEW - 1, 32, seed=9)
    assert near_duplicates(of(pixels), of(pixels)).tolist() == list(range(FEW - 1))
    assert near_duplicates(of(photographs(200, 32, 10)), of(pixels)).tolist() == [-1] * 200


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_compare(n: int, m: int) -> None:
    some, others = of(photographs(max(n, 1), 32, 0))[:n], of(photographs(max(m, 1), 32, 1))[:m]
    assert near_duplicates(some, others).tolist() == [-1] * n

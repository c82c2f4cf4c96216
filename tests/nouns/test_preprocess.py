"""Geometry against a slow twin, JPEG decoding at a fraction, the short cut for arrays, and keys."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_sample_images

from lightmeter.errors import BadImageError
from lightmeter.nouns.decoder import DRAFT_MARGIN, decode
from lightmeter.nouns.preprocess import Preprocess


def grainy(photo: np.ndarray) -> Image.Image:
    """The grain of a fast film: the smooth sample pictures alone would forgive almost any fraction."""
    grain = np.random.default_rng(0).normal(0, 16, photo.shape[:2])[..., None]
    return Image.fromarray((photo + grain).clip(0, 255).astype(np.uint8))


PHOTOS = [grainy(photo) for photo in load_sample_images().images]  # two, of 640 x 427


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def ppm(image: Image.Image) -> bytes:
    return b"P6 %d %d 255\n" % image.size + image.tobytes()


def jpeg(image: Image.Image, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def resized(line: np.ndarray, start: float, stop: float, count: int) -> np.ndarray:
    """Antialiased linear resampling of axis 0 from [start, stop), a pixel at a time: a triangle as wide as the step."""
    step = (stop - start) / count
    reach = max(step, 1.0)
    rows = []
    for index in range(count):
        centre = start + (index + 0.5) * step
        weights = np.maximum(0, 1 - np.abs(np.arange(len(line)) + 0.5 - centre) / reach)
        rows.append(np.tensordot(weights / weights.sum(), line, 1))
    return np.array(rows)


def twin(pixels: np.ndarray, size: int, fit: str, background: tuple[int, int, int]) -> np.ndarray:
    height, width = pixels.shape[:2]
    if fit == "squash":
        box, inner = (0, 0, width, height), (size, size)
    elif fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box, inner = (left, top, left + side, top + side), (size, size)
    else:
        scale = size / max(width, height)
        box, inner = (0, 0, width, height), (round(width * scale), round(height * scale))
    part = resized(pixels.astype(float), box[1], box[3], inner[1])
    part = resized(part.swapaxes(0, 1), box[0], box[2], inner[0]).swapaxes(0, 1)
    canvas = np.empty((size, size, 3))
    canvas[:] = background
    left, top = (size - inner[0]) // 2, (size - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = part
    return canvas


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(57, 91), (91, 57), (40, 41), (33, 33), (9, 20), (5, 3)])
def test_geometry_agrees_with_the_obvious_twin(fit: str, shape: tuple[int, int]) -> None:
    """Shrinking, enlarging, odd margins, both directions: within the rounding of two passes."""
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    background = (3, 99, 201)
    preprocess = Preprocess(size=21, channels=3, fit=fit, background=background)
    canvas = preprocess.canvas(png(Image.fromarray(pixels)))
    assert np.abs(canvas.pixels - twin(pixels, 21, fit, background)).max() <= 1.01
    assert (canvas.width, canvas.height) == shape[::-1]


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for fit in ("crop", "pad", "squash"):
        canvas = Preprocess(size=24, channels=3, fit=fit).canvas(png(Image.fromarray(pixels)))
        assert np.array_equal(canvas.pixels, pixels)


def test_a_very_long_picture_keeps_one_row_when_padded() -> None:
    data = png(Image.new("RGB", (500, 2), (255, 0, 0)))
    canvas = Preprocess(size=8, channels=3, fit="pad", background=(0, 0, 0)).canvas(data)
    assert (canvas.pixels[..., 0] == 255).any(axis=1).sum() == 1


def test_padding_of_a_grey_canvas_is_the_luma_of_the_background() -> None:
    data = png(Image.new("L", (8, 16), 7))
    canvas = Preprocess(size=16, channels=1, fit="pad", background=(255, 0, 0)).canvas(data)
    assert canvas.pixels[0, 0, 0] == 76 and canvas.pixels[8, 8, 0] == 7


def enlarged(photo: Image.Image, factor: int) -> Image.Image:
    """A larger photograph: mirrored copies side by side keep the detail of a real one at every pixel."""
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sheet = Image.new("RGB", (photo.width * factor, photo.height * factor))
    for row in range(factor):
        for column in range(factor):
            sheet.paste(mirrored if (row + column) % 2 else photo, (column * photo.width, row * photo.height))
    return sheet


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize(("factor", "size"), [(1, 53), (1, 26), (1, 13), (2, 96), (2, 64), (3, 40)])
def test_a_jpeg_decoded_at_a_fraction_gives_the_same_canvas(factor: int, size: int, fit: str) -> None:
    preprocess = Preprocess(size=size, channels=3, fit=fit)
    scales = set()
    for photo in PHOTOS:
        # cropped to odd sides, so that no fraction divides them and the last block is a partial one
        picture = enlarged(photo, factor).crop((0, 0, photo.width * factor - 3, photo.height * factor - 1))
        data = jpeg(picture, quality=85)
        with Image.open(io.BytesIO(data)) as whole:
            full = preprocess.canvas(ppm(whole.convert("RGB")))
        canvas = preprocess.canvas(data)
        assert np.abs(canvas.pixels.astype(int) - full.pixels).mean() < 1
        assert (canvas.width, canvas.height) == (full.width, full.height) == picture.size
        scales.add(decode(data, channels=3, wanted=preprocess._ratio, background=(0, 0, 0)).scale)
    assert scales <= {2, 4, 8}, "this case was to be decoded at a fraction"


def test_the_margin_decides_where_a_fraction_begins() -> None:
    data = jpeg(Image.new("RGB", (256, 300)))
    for size, scale in ((256 // (2 * DRAFT_MARGIN), 2), (256 // (2 * DRAFT_MARGIN) + 1, 1), (8, 8), (16, 4)):
        preprocess = Preprocess(size=size, channels=3)
        assert decode(data, channels=3, wanted=preprocess._ratio, background=(0, 0, 0)).scale == scale


@pytest.mark.parametrize("orientation", [3, 5, 6, 8])
def test_a_fraction_and_a_turn_keep_the_true_edges(orientation: int) -> None:
    """1 row in 8 belongs to the last block; turned first, it would shift the picture."""
    ramp = np.linspace(0, 255, 513).astype(np.uint8)
    pixels = np.stack([np.broadcast_to(ramp[:, None], (513, 257)), np.zeros((513, 257)), np.zeros((513, 257))], axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(pixels.astype(np.uint8))
    turn = {3: Image.Transpose.ROTATE_180, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270}
    upright = stored.transpose(turn.get(orientation, Image.Transpose.ROTATE_90))
    for fit in ("crop", "pad", "squash"):
        preprocess = Preprocess(size=8, channels=3, fit=fit)
        found = preprocess.canvas(jpeg(stored, quality=98, subsampling=0, exif=exif))
        wanted = preprocess.canvas(png(upright))
        assert np.abs(found.pixels.astype(int) - wanted.pixels).max() <= 4
        assert (found.width, found.height) == upright.size


@pytest.mark.parametrize(("magic", "channels"), [(b"P5", 1), (b"P6", 3)])
def test_the_short_cut_for_arrays_equals_the_decoder(magic: bytes, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, channels), dtype=np.uint8)
    body = pixels.tobytes()
    for wanted in (1, 3):
        for size in (28, 20):
            preprocess = Preprocess(size=size, channels=wanted)
            short = preprocess.canvas(magic + b" 28 28 255\n" + body)
            general = preprocess.canvas(magic + b"\n# a comment\n28 28\n255\n" + body)
            assert np.array_equal(short.pixels, general.pixels) and short.notes == general.notes == ()
            assert (short.width, short.height) == (general.width, general.height) == (28, 28)
    canvas = Preprocess(size=28, channels=channels).canvas(magic + b" 28 28 255\n" + body)
    assert np.array_equal(canvas.pixels, pixels) and canvas.pixels.flags.writeable


@pytest.mark.parametrize("header", [b"P5 28 28 255\n", b"P5\n# a comment\n28 28\n255\n"])
def test_an_array_cut_short_is_bad_on_either_path(header: bytes) -> None:
    with pytest.raises(BadImageError, match="the file ends early"):
        Preprocess(size=28, channels=1).canvas(header + bytes(28 * 28 - 1))


def test_levels_other_than_255_take_the_general_path() -> None:
    canvas = Preprocess(size=8, channels=1).canvas(b"P5 8 8 100\n" + bytes([100] * 32 + [0] * 32))
    assert canvas.pixels.min() == 0 and canvas.pixels.max() == 255


def test_keys_are_equal_exactly_when_the_settings_are() -> None:
    one = Preprocess(size=32, channels=3)
    assert one.key() == Preprocess.model_validate_json(one.model_dump_json()).key()
    # pinned: a new key for the same settings would orphan every recipe and pack
    assert one.key() == "189cce95c0d42742c6dcd9cd69d4221fa4a8c989ccd80e668b8f486bc4695d8a"
    others = [
        Preprocess(size=33, channels=3),
        Preprocess(size=32, channels=1),
        Preprocess(size=32, channels=3, fit="pad"),
        Preprocess(size=32, channels=3, background=(0, 0, 0)),
    ]
    assert len({one.key(), *(other.key() for other in others)}) == 5


def test_settings_are_checked_and_cannot_be_changed() -> None:
    for wrong in ({"size": 7}, {"size": 1025}, {"channels": 2}, {"fit": "stretch"}, {"background": (0, 0, 256)}):
        with pytest.raises(ValidationError):
            Preprocess.model_validate({"size": 32, "channels": 3, **wrong})
    with pytest.raises(ValidationError):
        Preprocess.model_validate({"size": 32, "channels": 3, "mean": 0.5})
    with pytest.raises(ValidationError):
        Preprocess(size=32, channels=3).size = 64

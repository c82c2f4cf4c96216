"""One test for each line of the table of decoding rules, through the one door that everybody uses."""

from __future__ import annotations

import io
import random
import struct
import threading
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.serve.mutants import mutate, seeds
from lightmeter.errors import BadImageError
from lightmeter.nouns.preprocess import PIXEL_LIMIT, ImageFacts, Preprocess, describe

RGB = Preprocess(size=16, channels=3)
GREY = Preprocess(size=16, channels=1)
BACKGROUND = (10, 200, 77)
OVER = Preprocess(size=16, channels=3, background=BACKGROUND)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png(image: Image.Image, **options) -> bytes:
    return encoded(image, "PNG", **options)


def raw_png(width: int, height: int, depth: int, colour: int, body: bytes | None, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow does not write; without a body it has a header only."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    start += extra and chunk(extra[:4], extra[4:])
    return start + chunk(b"IDAT", zlib.compress(body or b"")) + chunk(b"IEND", b"")


def luma(pixels: np.ndarray) -> np.ndarray:
    return pixels @ np.array([0.299, 0.587, 0.114])


def over(colour: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """The obvious twin: exact rounding in wide integers."""
    c, a, b = colour.astype(int), alpha.astype(int)[..., None], np.array(background)
    return (2 * (c * a + b * (255 - a)) + 255) // 510


def reason(data: bytes, preprocess: Preprocess = RGB) -> str:
    with pytest.raises(BadImageError) as caught:
        preprocess.canvas(data)
    return caught.value.received


def test_grey_stays_grey_and_is_repeated() -> None:
    pixels = noise(16, 16)
    data = png(Image.fromarray(pixels))
    assert np.array_equal(GREY.canvas(data).pixels, pixels[:, :, None])
    assert np.array_equal(RGB.canvas(data).pixels, np.stack([pixels] * 3, axis=2))


def test_colour_becomes_grey_by_luma() -> None:
    pixels = noise(16, 16, 3)
    found = GREY.canvas(png(Image.fromarray(pixels))).pixels[..., 0]
    assert np.abs(found - luma(pixels)).max() <= 0.51


def test_one_bit_becomes_black_and_white() -> None:
    bits = noise(16, 16) > 127
    for format in ("PNG", "TIFF", "BMP"):
        found = GREY.canvas(encoded(Image.fromarray(bits), format)).pixels
        assert np.array_equal(found[..., 0], bits * 255)


def test_palette_is_looked_up() -> None:
    palette = noise(8, 3)
    indices = noise(16, 16) % 8
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        assert np.array_equal(RGB.canvas(encoded(image, format)).pixels, palette[indices])


@pytest.mark.parametrize("transparency", [b"\x00\x80\xff\x10", 1])
def test_palette_with_transparency_lies_over_the_background(transparency: bytes | int) -> None:
    palette = noise(4, 3)
    indices = noise(16, 16) % 4
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    alpha = np.array([255, 0, 255, 255] if transparency == 1 else list(transparency))
    expected = over(palette[indices], alpha[indices], BACKGROUND)
    canvas = OVER.canvas(png(image, transparency=transparency))
    assert np.array_equal(canvas.pixels, expected)
    assert canvas.notes == ("transparent: over the background",)
    if transparency == 1:
        assert np.array_equal(OVER.canvas(encoded(image, "GIF", transparency=1)).pixels, expected)


def test_colour_key_is_transparent() -> None:
    pixels = noise(16, 16, 3)
    pixels[4, 5] = (1, 2, 3)
    alpha = np.where((pixels == (1, 2, 3)).all(axis=2), 0, 255)
    canvas = OVER.canvas(png(Image.fromarray(pixels), transparency=(1, 2, 3)))
    assert np.array_equal(canvas.pixels, over(pixels, alpha, BACKGROUND))


def test_alpha_is_composited_with_exact_rounding_at_every_level() -> None:
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for seed in range(4):
        colour = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        data = png(Image.fromarray(np.dstack([colour, alpha])))
        assert np.array_equal(OVER.canvas(data).pixels, over(colour, alpha, BACKGROUND))
        grey = colour[..., 0]
        data = png(Image.fromarray(np.dstack([grey, alpha]), "LA"))
        assert np.array_equal(OVER.canvas(data).pixels, over(np.dstack([grey] * 3), alpha, BACKGROUND))


def test_alpha_goes_before_resizing_so_that_hidden_colours_do_not_bleed() -> None:
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., 0] = 255  # red, and wholly transparent
    assert (OVER.canvas(png(Image.fromarray(pixels))).pixels == BACKGROUND).all()


def test_opaque_alpha_is_no_remark() -> None:
    pixels = noise(16, 16, 4)
    pixels[..., 3] = 255
    canvas = RGB.canvas(png(Image.fromarray(pixels)))
    assert canvas.notes == () and np.array_equal(canvas.pixels, pixels[..., :3])


def test_cmyk_jpeg_keeps_its_colours() -> None:
    for ink, colour in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((0, 255, 255, 0), (255, 0, 0))):
        canvas = RGB.canvas(encoded(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95))
        assert np.abs(canvas.pixels.astype(int) - colour).max() <= 3, ink
        assert canvas.notes == ("CMYK converted without its colour profile",)


def test_ycck_jpeg_keeps_its_colours() -> None:
    # Pillow cannot write YCCK. Adobe stores Y, Cb, Cr of the inks 255 - (200, 40, 90), black inverted, and says so.
    stored = (*Image.new("RGB", (1, 1), (55, 215, 165)).convert("YCbCr").getpixel((0, 0)), 255)
    data = encoded(Image.new("CMYK", (16, 16), tuple(255 - level for level in stored)), "JPEG", quality=95)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    canvas = RGB.canvas(data[:at] + b"\x02" + data[at + 1 :])
    assert np.abs(canvas.pixels.astype(int) - (200, 40, 90)).max() <= 4


LEVELS = np.random.default_rng(0).integers(0, 65536, (16, 16), dtype=np.uint16)
LEVELS[0, :4] = (0, 128, 129, 65535)  # 128 / 257 rounds down, 129 / 257 up


def test_sixteen_bit_grey_is_scaled_with_rounding_not_clipped() -> None:
    big_endian = Image.frombytes("I;16B", (16, 16), LEVELS.astype(">u2").tobytes())
    files = {
        "png": png(Image.fromarray(LEVELS)),
        "tiff": encoded(Image.fromarray(LEVELS), "TIFF"),
        "big-endian tiff": encoded(big_endian, "TIFF"),
        "pgm": b"P5 16 16 65535\n" + LEVELS.astype(">u2").tobytes(),
        "32-bit tiff in range": encoded(Image.fromarray(LEVELS.astype(np.int32)), "TIFF"),
    }
    for name, data in files.items():
        canvas = GREY.canvas(data)
        assert np.array_equal(canvas.pixels[..., 0], np.rint(LEVELS / 257)), name
        assert canvas.notes == ("16-bit scaled to 8",), name
        assert np.array_equal(RGB.canvas(data).pixels, np.repeat(canvas.pixels, 3, axis=2)), name


def test_sixteen_bit_colour_gives_the_high_byte_and_says_so() -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (16, 16, 3), dtype=np.uint16)
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    canvas = RGB.canvas(raw_png(16, 16, 16, 2, body))
    assert np.array_equal(canvas.pixels, levels >> 8)
    assert canvas.notes == ("16-bit colour: high byte",)
    assert np.abs(canvas.pixels - levels / 257).max() <= 1


def test_levels_without_an_agreed_white_are_refused() -> None:
    far = np.full((16, 16), 70_000, np.int32)
    assert reason(encoded(Image.fromarray(far), "TIFF")) == "its 32-bit levels run from 70000 to 70000"
    assert "floating point" in reason(encoded(Image.fromarray(np.ones((16, 16), np.float32)), "TIFF"))
    assert "mode LAB" in reason(encoded(Image.new("LAB", (16, 16)), "TIFF"))


def stored_as(upright: Image.Image, orientation: int) -> Image.Image:
    """What a camera stores so that `orientation` turns it back, written out from the EXIF standard's table."""
    pixels = np.asarray(upright)
    undo = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, 1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels, -1),
    }
    return Image.fromarray(np.ascontiguousarray(undo[orientation]))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_turns_upright(format: str, orientation: int) -> None:
    upright = Image.fromarray(noise(3, 5, 3)).resize((45, 27), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = (
        {"lossless": True} if format == "WEBP" else {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    )
    data = encoded(stored_as(upright, orientation), format, exif=exif, **lossless)
    for fit in ("crop", "pad", "squash"):
        preprocess = Preprocess(size=16, channels=3, fit=fit)
        canvas = preprocess.canvas(data)
        assert (canvas.width, canvas.height) == (45, 27)
        difference = np.abs(canvas.pixels.astype(int) - preprocess.canvas(png(upright)).pixels)
        assert difference.max() <= (6 if format == "JPEG" else 1), fit


def test_unreadable_exif_changes_nothing_but_is_noted() -> None:
    pixels = noise(16, 16, 3)
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 40):
        canvas = RGB.canvas(encoded(Image.fromarray(pixels), "JPEG", exif=exif))
        assert canvas.pixels.shape == (16, 16, 3)
        assert set(canvas.notes) <= {"EXIF unreadable: not turned"}


def test_colour_profile_is_ignored() -> None:
    pixels = noise(16, 16, 3)
    assert np.array_equal(RGB.canvas(png(Image.fromarray(pixels), icc_profile=b"anything")).pixels, pixels)


@pytest.mark.parametrize(("format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_of_several_frames_the_first_is_taken(format: str, options: dict) -> None:
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    canvas = RGB.canvas(encoded(first, format, save_all=True, append_images=[second], **options))
    assert (canvas.pixels == (250, 0, 0)).all()
    assert canvas.notes == ("animated: first frame",)
    assert RGB.canvas(encoded(first, format, **options)).notes == ()


PICTURE = Image.fromarray(noise(6, 7, 3)).resize((61, 53), Image.Resampling.BICUBIC)
FILES = {
    "JPEG": encoded(PICTURE, "JPEG"),
    "progressive JPEG": encoded(PICTURE, "JPEG", progressive=True),
    "PNG": png(PICTURE),
    "GIF": encoded(PICTURE, "GIF"),
    "BMP": encoded(PICTURE, "BMP"),
    "WebP": encoded(PICTURE, "WEBP"),
    "TIFF": encoded(PICTURE, "TIFF"),
    "deflated TIFF": encoded(PICTURE, "TIFF", compression="tiff_deflate"),
    "PPM": encoded(PICTURE, "PPM"),
    "palette PNG": png(PICTURE.quantize(16), transparency=3),
    "16-bit PNG": png(Image.fromarray(noise(40, 40).astype(np.uint16) * 200)),
    "CMYK JPEG": encoded(PICTURE.convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_never_a_partial_picture(name: str) -> None:
    data = FILES[name]
    assert RGB.canvas(data).pixels.shape == (16, 16, 3)
    said = {reason(data[: int(len(data) * part)]) for part in (0.5, 0.7, 0.9)}
    if name not in ("WebP", "TIFF", "deflated TIFF"):  # these keep a length or a table that is missed first
        assert said == {"the file ends early"}
    assert reason(data[:20])


def test_what_is_not_a_picture_is_told_apart() -> None:
    assert reason(b"") == "the file is empty"
    assert reason(b"hello, world") == "it is not a picture"
    assert reason(bytes(1000)) == "it is not a picture"
    assert reason(b"\xff\xd8\xff") == "its JPEG header is damaged or ends early"
    for start, word in (
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\0\0\0\x18ftypavif", "AVIF"),
        (b"<svg xmlns='x'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\0\0\0\x18ftypisom", "film"),
    ):
        assert word in reason(start + bytes(64))


def test_a_decoder_outside_the_list_is_not_reached() -> None:
    for format in ("ICO", "TGA", "PCX", "JPEG2000"):
        assert reason(encoded(PICTURE, format))


@pytest.mark.parametrize("side", [8_001, 9_800, 50_000, 2**31 - 1])
def test_too_many_pixels_are_refused_from_the_header(side: int) -> None:
    """Below Pillow's own warning, between its warning and its error, and far above both."""
    limit, data = Image.MAX_IMAGE_PIXELS, raw_png(side, side, 8, 2, None)
    tracemalloc.start()
    said = reason(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert f"{PIXEL_LIMIT:,}" in said and "header" in said
    assert peak < 1 << 20 and limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadImageError):
        describe(data)


def test_describe_reads_only_the_header() -> None:
    data = FILES["JPEG"]
    assert describe(data[: len(data) - 200]) == ImageFacts("JPEG", "RGB", 61, 53)
    assert describe(FILES["16-bit PNG"]) == ImageFacts("PNG", "I;16", 40, 40)


def test_warnings_of_the_decoder_stay_inside_and_filters_are_left_as_they_were() -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0" + struct.pack("<HHII", 0x011A, 5, 1, 0xFFFFFF) * 5
    data = encoded(PICTURE, "JPEG", exif=exif)
    with warnings.catch_warnings(record=True) as unguarded:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(data)).getexif()
    assert unguarded, "this file should make Pillow warn, else the test shows nothing"
    before = list(warnings.filters)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                RGB.canvas(data)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(warnings.filters) == inside
    assert not failures and not shown and list(warnings.filters) == before


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(FILES[draw(st.sampled_from(sorted(FILES)))])
    for _ in range(draw(st.integers(0, 6))):
        # the header decides most, so half of the flips go there
        at = draw(st.integers(0, len(data) - 1) | st.integers(0, min(90, len(data) - 1)))
        data[at] ^= 1 << draw(st.integers(0, 7))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_any_bytes_give_a_canvas_or_a_bad_image(data: bytes) -> None:
    try:
        canvas = RGB.canvas(data)
    except BadImageError:
        return
    assert canvas.pixels.shape == (16, 16, 3) and canvas.pixels.dtype == np.uint8


@pytest.mark.parametrize("name", sorted(seeds()))
def test_whatever_is_damaged_is_a_picture_or_a_bad_one(name: str) -> None:
    whole = seeds()
    assert RGB.canvas(whole[name]).pixels.std() > 1
    outcomes = set()
    for number in range(150):
        draw = random.Random(f"{name},{number}")
        data = mutate(whole[name], draw.choice(list(whole.values())), draw)
        try:
            outcomes.add(RGB.canvas(data).pixels.shape)
        except BadImageError as error:
            outcomes.add(str(error)[:20])
    assert (16, 16, 3) in outcomes
    assert len(outcomes) > 1

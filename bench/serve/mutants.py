"""Damaged pictures: real ones of every format that is read, changed as accidents and attackers change them."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

_SIDE = (40, 32)


def seeds() -> dict[str, bytes]:
    """Small whole pictures, one of each way of encoding."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)
    colour = Image.fromarray(noise).resize(_SIDE, Image.Resampling.BICUBIC)
    grey, alpha = colour.convert("L"), colour.convert("RGBA")
    alpha.putalpha(grey)
    palette = colour.quantize(17)
    sixteen = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description" * 20
    return {
        "jpeg": _saved(colour, "JPEG"),
        "jpeg progressive": _saved(colour, "JPEG", progressive=True, optimize=True),
        "jpeg grey": _saved(grey, "JPEG"),
        "jpeg cmyk": _saved(colour.convert("CMYK"), "JPEG"),
        "jpeg exif": _saved(colour, "JPEG", exif=exif, subsampling=0),
        "png": _saved(colour, "PNG"),
        "png alpha": _saved(alpha, "PNG"),
        "png palette": _saved(palette, "PNG", transparency=3),
        "png 16 bit": _saved(sixteen, "PNG"),
        "png exif": _saved(colour, "PNG", exif=exif),
        "gif": _saved(palette, "GIF"),
        "gif animated": _saved(palette, "GIF", save_all=True, append_images=[palette.rotate(90)] * 3, loop=0),
        "webp": _saved(colour, "WEBP"),
        "webp lossless": _saved(alpha, "WEBP", lossless=True),
        "webp animated": _saved(colour, "WEBP", save_all=True, append_images=[colour.rotate(90)] * 2),
        "bmp": _saved(colour, "BMP"),
        "bmp palette": _saved(palette, "BMP"),
        "tiff": _saved(colour, "TIFF"),
        "tiff lzw": _saved(colour, "TIFF", compression="tiff_lzw"),
        "tiff jpeg": _saved(colour, "TIFF", compression="jpeg"),
        "tiff 16 bit": _saved(sixteen, "TIFF"),
        "ppm": _saved(colour, "PPM"),
        "pgm": _saved(grey, "PPM"),
    }


def mutate(whole: bytes, other: bytes, draw: random.Random) -> bytes:
    """`whole` with one to six changes, some of them parts of `other`."""
    data = bytearray(whole)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        _CHANGES[draw.randrange(len(_CHANGES))](data, other, draw)
        if not data:
            break
    if data[:8] == b"\x89PNG\r\n\x1a\n" and draw.random() < 0.7:
        _mend_png(data)  # else nearly all of them would end at the first wrong check sum
    return bytes(data)


def _saved(picture: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def _place(data: bytearray, draw: random.Random) -> int:
    """Anywhere, and as often near the beginning, where headers are."""
    return draw.randrange(min(len(data), draw.choice((16, 64, 256, len(data)))))


def _bit(data: bytearray, _: bytes, draw: random.Random) -> None:
    data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _byte(data: bytearray, _: bytes, draw: random.Random) -> None:
    data[_place(data, draw)] = draw.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, draw.randrange(256)))


def _number(data: bytearray, _: bytes, draw: random.Random) -> None:
    """A field of two or four bytes set to an extreme: lengths, sides, offsets."""
    value = draw.choice((0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    form = draw.choice((">H", "<H", ">I", "<I"))
    field = struct.pack(form, value & (0xFFFF if "H" in form else 0xFFFFFFFF))
    at = _place(data, draw)
    data[at : at + len(field)] = field


def _truncate(data: bytearray, _: bytes, draw: random.Random) -> None:
    del data[draw.randrange(len(data)) :]


def _remove(data: bytearray, _: bytes, draw: random.Random) -> None:
    at = _place(data, draw)
    del data[at : at + draw.choice((1, 2, 4, 16, 100))]


def _repeat(data: bytearray, _: bytes, draw: random.Random) -> None:
    at, length = _place(data, draw), draw.choice((1, 2, 8, 32, 200))
    data[at:at] = data[at : at + length] * draw.choice((1, 2, 50))


def _splice(data: bytearray, other: bytes, draw: random.Random) -> None:
    at, start = _place(data, draw), draw.randrange(len(other))
    data[at : at + draw.choice((0, 8, 64))] = other[start : start + draw.choice((4, 32, 256))]


def _append(data: bytearray, other: bytes, draw: random.Random) -> None:
    data += draw.choice((b"\0" * 64, b"\xff" * 64, other))


_CHANGES = (_bit, _bit, _byte, _byte, _number, _number, _truncate, _remove, _repeat, _splice, _append)


def _mend_png(data: bytearray) -> None:
    """Right check sums for as many chunks as still hang together."""
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            return
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4

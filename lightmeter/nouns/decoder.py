"""Encoded bytes -> an 8-bit L or RGB picture and the turn that makes it upright, by the rules in `preprocess.py`."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from lightmeter.errors import BadImageError, ForeignImageError
from lightmeter.nouns.quiet import without_pillow_warnings

PIXEL_LIMIT = 64_000_000
"""Pictures of more pixels are refused from their header, before any is decoded."""

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""The decoders that can be reached. Others are rarely meant, rarely present everywhere, and rarely hardened."""

READABLE = "a JPEG, PNG, GIF, BMP, WebP, TIFF or PPM file"

DRAFT_MARGIN = 4
"""A JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves at least this many times the pixels needed along each side.

Measured on 47 photographs at two qualities: with 4 the canvas is at worst 0.87 grey levels off the full decode on
average over the canvas (typically 0.3 to 0.5); with 3 at worst 1.1, with 2 at worst 3.3.
"""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

_COLOUR = ("RGB", "RGBX", "CMYK", "YCbCr")
_ALPHA = ("RGBA", "RGBa", "LA", "La", "PA")
_SIXTEEN = ("I", "I;16", "I;16B", "I;16L", "I;16N")

_KNOWN = (  # (pattern at the start, what it is)
    (rb"\xff\xd8\xff", "JPEG"),
    (rb"\x89PNG\r\n\x1a\n", "PNG"),
    (rb"GIF8[79]a", "GIF"),
    (rb"BM", "BMP"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"II[*+]\x00|MM\x00[*+]", "TIFF"),
    (rb"P[1-7][\s#]", "PPM"),
)
_FOREIGN = (
    (rb"....ftypavi[fs]", "an AVIF picture"),
    (rb"....ftyp(hei|hev|mif|msf)", "a HEIC picture"),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL picture"),
    (rb"8BPS", "a Photoshop document"),
    (rb"%PDF", "a PDF document"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", "an SVG drawing"),
    (rb"\x00\x00\x01\x00", "an icon"),
    (rb"\s*<(!doctype html|html)", "a web page"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"....ftyp|\x1a\x45\xdf\xa3", "a film"),
)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a header says: format ("JPEG"), Pillow's mode ("RGB"), and width and height before any EXIF turn."""

    format: str
    mode: str
    width: int
    height: int


@dataclass(frozen=True, eq=False, slots=True)
class Decoded:
    """A picture as stored, not yet turned upright.

    Attributes:
        image: mode L or RGB, at 1/`scale` of the full size (rounded up).
        width, height: of the full picture as stored.
        scale: 1, 2, 4 or 8.
        turn: the Pillow transposition that makes it upright, or None.
        notes: what was done to it that a user may want to know.
    """

    image: Image.Image
    width: int
    height: int
    scale: int
    turn: Image.Transpose | None
    notes: tuple[str, ...]


def describe(data: bytes) -> ImageFacts:
    """Read the header only. Raises BadImageError."""
    with without_pillow_warnings():
        image = _open(data)
    return ImageFacts(image.format or "", image.mode, *image.size)


def decode(
    data: bytes, *, channels: int, wanted: Any, background: tuple[int, int, int], most: int = PIXEL_LIMIT
) -> Decoded:
    """Decode, drop alpha, reduce to 8 bits, and convert to L (1 channel) or RGB (3; a grey picture may stay L).

    Args:
        wanted: (width, height) as stored -> how many source pixels make one canvas pixel, along the finer axis.
        most: pixels that may be decoded, counted after a JPEG's reduction.

    Raises:
        BadImageError: with the reason.
    """
    with without_pillow_warnings():
        image = _open(data)
        width, height = image.size
        notes: list[str] = []
        try:
            if getattr(image, "is_animated", False):  # asked first: a GIF answers it by seeking
                notes.append("animated: first frame")
            scale = _draft(image, wanted(width, height))
            if image.width * image.height > most:
                raise _too_large(f"{image.width:,} x {image.height:,} pixels would have to be decoded", most)
            depth = " ".join(str(tile.args) for tile in image.tile)
            image.load()
        except (MemoryError, BadImageError):
            raise
        except Exception as error:  # decoders meet broken bytes with exceptions of every kind
            raise _damaged(image.format or "picture", error) from error
        turn = _turn(image, notes)
        try:
            if image.mode in ("RGB", "RGBA") and ";16" in depth:
                notes.append("16-bit colour: high byte")
            plain = _plain(image, channels, background, notes)
        except (ValueError, OSError, KeyError) as error:  # such as a palette index beyond the palette
            raise _damaged(image.format or "picture", error) from error
        # a TIFF turns itself while it loads
        if image.format == "TIFF":
            width, height = plain.size
    return Decoded(plain, width, height, scale, turn, tuple(notes))


def _open(data: bytes) -> ImageFile.ImageFile:
    """Open, reading the header only, and hold it against PIXEL_LIMIT."""
    if not data:
        raise BadImageError("the file is empty", READABLE)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large("its header promises far more pixels") from error
    except MemoryError:
        raise
    except Exception as error:
        raise _unopened(data, error) from error
    width, height = image.size
    if width * height > PIXEL_LIMIT:
        raise _too_large(f"its header promises {width:,} x {height:,} pixels")
    return image


def _too_large(says: str, most: int = PIXEL_LIMIT) -> BadImageError:
    return BadImageError(f"{says}, above the limit of {most:,}", fix="scale it down first.")


def _unopened(data: bytes, error: Exception) -> BadImageError:
    head = data[:256]
    for pattern, name in _FOREIGN:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return ForeignImageError(f"it is {name}, which is not read", READABLE, "convert it to JPEG or PNG.")
    for pattern, name in _KNOWN:
        if re.match(pattern, head, re.DOTALL):
            return BadImageError(f"its {name} header is damaged or ends early", READABLE)
    return ForeignImageError("it is not a picture", READABLE)


def _damaged(format: str, error: Exception) -> BadImageError:
    text = f"{error}".strip() or type(error).__name__
    if isinstance(error, EOFError) or re.search(r"truncated|unexpected end|not enough|premature", text, re.IGNORECASE):
        return BadImageError("the file ends early")
    return BadImageError(f"its {format} data are damaged ({text})")


def _draft(image: ImageFile.ImageFile, ratio: float) -> int:
    """Let a JPEG be decoded at a fraction of its size; returns the divisor that it will have."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    scale = max((s for s in (2, 4, 8) if ratio >= s * DRAFT_MARGIN), default=1)
    if scale == 1:
        return 1
    width, height = image.size
    image.draft(None, (width // scale, height // scale))
    return scale if image.size == (math.ceil(width / scale), math.ceil(height / scale)) else 1


def _turn(image: ImageFile.ImageFile, notes: list[str]) -> Image.Transpose | None:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - the picture is whole, only its EXIF block is not
        notes.append("EXIF unreadable: not turned")
        return None
    return _TURNS.get(orientation) if isinstance(orientation, int) else None


def _plain(image: Image.Image, channels: int, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    mode = image.mode
    if mode in _SIXTEEN:
        notes.append("16-bit scaled to 8")
        return _eight_bits(image)
    if mode in _ALPHA or (mode in ("1", "L", "P", "RGB") and "transparency" in image.info):
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        image = Image.new("RGB", image.size, background)
        image.paste(rgba.convert("RGB"), mask=alpha)  # exact: round((c * a + background * (255 - a)) / 255)
        if alpha.getextrema() != (255, 255):
            notes.append("transparent: over the background")
    elif mode == "1":
        return image.convert("L")
    elif mode == "P":
        image = image.convert("RGB")
    elif mode in _COLOUR and mode != "RGB":  # converting RGB to RGB would copy it
        if mode == "CMYK":
            notes.append("CMYK converted without its colour profile")
        image = image.convert("RGB")
    elif mode not in ("L", "RGB"):
        what = "of 32-bit floating point" if mode == "F" else f"of mode {mode}"
        raise BadImageError(f"its pixels are {what}, which has no agreed black and white", "8- or 16-bit pixels")
    return image.convert("L") if channels == 1 else image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Divide by 257 and round, so that 0 and 65535 become 0 and 255."""
    levels = np.asarray(image)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise BadImageError(f"its 32-bit levels run from {low} to {high}", "8- or 16-bit pixels", "convert it first.")
    return Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))

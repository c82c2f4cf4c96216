"""Preprocess: bytes of an image file -> one canvas, uint8[S, S, C]. The only decoder and resizer in the project.

What the bytes hold                what is done (a test for each line)
---------------------------------  ---------------------------------------------------------------------------------
grey (L), 1 bit                    kept grey; repeated three times for a canvas of 3 channels
palette                            colours looked up; then as RGB, or as RGBA where it has transparency
RGB for a canvas of 1 channel      luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B
alpha: RGBA, LA, colour key        laid over `background` in uint8, rounded to nearest, before any resizing
CMYK, YCCK (JPEG, TIFF)            converted without a colour profile; Adobe's inversion is undone by Pillow; noted
16-bit grey                        divided by 257 and rounded, never clipped; noted
16-bit colour (PNG, TIFF)          the high byte, all that Pillow gives (at most 1 level off); noted
32-bit integer                     as 16-bit if its levels fit 0..65535, else refused
floating point, LAB                refused: it has no agreed black and white
EXIF orientation 1 to 8            turned upright; an unreadable EXIF block is noted and changes nothing
ICC profile, gamma                 ignored: levels are taken as they are stored, as the field's data sets do
animation, several pages           the first frame; noted
cut short, damaged                 BadImageError, never a partial picture
empty, no picture, other formats   BadImageError that says what it is; see `FORMATS`
more than PIXEL_LIMIT pixels       BadImageError from the header, before any pixel is decoded
JPEG much larger than the canvas   decoded at 1/2, 1/4 or 1/8; see `DRAFT_MARGIN` for the bound on the difference
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from lightmeter.nouns.decoder import DRAFT_MARGIN, FORMATS, PIXEL_LIMIT, Decoded, ImageFacts, decode, describe

__all__ = ["DRAFT_MARGIN", "FORMATS", "PIXEL_LIMIT", "RULES", "Canvas", "ImageFacts", "Preprocess", "describe"]

RULES = 1
"""Number of the table above: raised whenever a change gives other pixels, so that no older pack is used again."""

_NETPBM = re.compile(rb"P([56])\s(\d{1,4})\s(\d{1,4})\s255\s")

_TRANSPOSING = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
)

Level = Annotated[int, Field(ge=0, le=255)]
Box = tuple[float, float, float, float]


def _all_of_it(width: int, height: int) -> float:
    """One source pixel for each that is wanted: nothing is decoded at a fraction."""
    return 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Canvas:
    """A picture ready for a model.

    Attributes:
        pixels: uint8[S, S, C].
        width, height: of the whole picture, upright, before resizing.
        notes: what was done that a user may want to know, such as "animated: first frame".
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...] = ()


class Preprocess(BaseModel):
    """How an encoded picture becomes a canvas.

    Resizing is Pillow's bilinear filter, whose support widens when it shrinks (antialiasing): torch's antialiased
    bilinear agrees with it to about 0.2 grey levels, so that a graph that resizes for itself can be exported later;
    bicubic and Lanczos overshoot at edges and have no such twin.

    Attributes:
        size: side S of the canvas.
        channels: 1 grey, 3 RGB.
        fit: "crop" resizes the shorter side and keeps the centre, "pad" resizes the longer side and fills up with
            `background`, "squash" resizes both and lets the shape go.
        background: RGB under transparent pixels and around padded ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=8, le=1024)
    channels: Literal[1, 3]
    fit: Literal["crop", "pad", "squash"] = "crop"
    background: tuple[Level, Level, Level] = (128, 128, 128)

    def key(self) -> str:
        """sha256 (hex) of the canonical JSON: equal settings have equal keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def canvas(self, data: bytes, *, most: int = PIXEL_LIMIT) -> Canvas:
        """Decode and resize one picture.

        Args:
            most: pixels that may be decoded for it; what is decoded does not depend on it.

        Raises:
            BadImageError: the bytes cannot become a canvas; `received` is the reason.
        """
        ready = self._ready(data)
        if ready is not None:
            return Canvas(ready, self.size, self.size)
        decoded = decode(data, channels=self.channels, wanted=self._ratio, background=self.background, most=most)
        width, height = decoded.width, decoded.height
        if decoded.turn in _TRANSPOSING:
            width, height = height, width
        return Canvas(self._fitted(decoded), width, height, decoded.notes)

    def upright(self, data: bytes) -> NDArray[np.uint8]:
        """The whole picture uint8[H, W, C], turned upright and without alpha, as it is before it is resized.

        Raises:
            BadImageError: as `canvas`.
        """
        decoded = decode(data, channels=self.channels, wanted=_all_of_it, background=self.background)
        image = decoded.image if decoded.turn is None else decoded.image.transpose(decoded.turn)
        pixels = np.asarray(image, np.uint8)
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], self.channels, axis=2)

    def _ready(self, data: bytes) -> NDArray[np.uint8] | None:
        """The pixels of a PGM or PPM that already is a canvas, without a decoder: as array sources hand them out."""
        head = _NETPBM.match(data)
        if head is None or int(head[2]) != self.size or int(head[3]) != self.size:
            return None
        channels = 1 if head[1] == b"5" else 3
        count = self.size * self.size * channels
        if channels != self.channels or len(data) < head.end() + count:
            return None
        pixels = np.frombuffer(data, np.uint8, count, head.end()).reshape(self.size, self.size, channels)
        return pixels.copy()

    def _ratio(self, width: int, height: int) -> float:
        box, (columns, rows), _ = self._geometry(width, height)
        return min((box[2] - box[0]) / columns, (box[3] - box[1]) / rows)

    def _geometry(self, width: int, height: int) -> tuple[Box, tuple[int, int], bool]:
        """Which part of a picture goes into how many pixels, and whether they must be padded."""
        size = self.size
        if self.fit == "squash" or width == height:
            return (0, 0, width, height), (size, size), False
        if self.fit == "crop":
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            return (left, top, left + side, top + side), (size, size), False
        longer = max(width, height)
        inner = max(1, round(width * size / longer)), max(1, round(height * size / longer))
        return (0, 0, width, height), inner, inner != (size, size)

    def _fitted(self, decoded: Decoded) -> NDArray[np.uint8]:
        # Resized as stored and turned afterwards: the crop is centred, so turning does not move it, and where the
        # picture was decoded at a fraction its true extent ends inside the last column and row, not the first.
        box, inner, padded = self._geometry(decoded.width, decoded.height)
        left, top, right, bottom = (edge / decoded.scale for edge in box)
        image = decoded.image.resize(inner, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
        if decoded.turn is not None:
            image = image.transpose(decoded.turn)
        if padded:
            whole = Image.new("RGB", (self.size, self.size), self.background)
            whole = whole if self.channels == 3 else whole.convert("L")
            corner = (self.size - image.width) // 2, (self.size - image.height) // 2
            whole.paste(image if self.channels == 1 else image.convert("RGB"), corner)
            image = whole
        pixels = np.asarray(image, np.uint8)
        if pixels.ndim == 3:
            return pixels
        return np.repeat(pixels[:, :, None], self.channels, axis=2)

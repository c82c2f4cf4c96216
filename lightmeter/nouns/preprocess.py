"""Preprocess: bytes of an image file -> one canvas, uint8[S, S, C]. The only decoder and resizer in the project."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from lightmeter.errors import BadImageError

PIXEL_LIMIT = 64_000_000
"""Pictures of more pixels are refused from their header, before any is decoded."""

Level = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True, eq=False, slots=True)
class Canvas:
    """A decoded picture: pixels uint8[S, S, C], its width and height before resizing (upright), and remarks."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    notes: tuple[str, ...] = ()


class Preprocess(BaseModel):
    """How an encoded picture becomes a canvas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=8, le=1024)
    channels: Literal[1, 3]
    fit: Literal["crop", "pad", "squash"] = "crop"
    background: tuple[Level, Level, Level] = (128, 128, 128)

    def key(self) -> str:
        """sha256 (hex) of the canonical JSON: equal settings have equal keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def canvas(self, data: bytes) -> Canvas:
        """Decode and resize. Raises BadImageError."""
        try:
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            resized = image.convert("L" if self.channels == 1 else "RGB").resize((self.size, self.size))
        except Exception as error:
            raise BadImageError(f"it cannot be decoded ({error})") from error
        return Canvas(np.array(resized).reshape(self.size, self.size, self.channels), width, height)

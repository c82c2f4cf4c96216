"""Made-up pictures with the spectrum of photographs, and what people do to copies."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def photographs(n: int, size: int, seed: int, channels: int = 3) -> Pixels:
    """uint8[n, size, size, channels]: noise whose amplitude falls as one over its frequency, with a colour cast."""
    random = np.random.default_rng(seed)
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    waves[0, 0] = 1 / size
    spectrum = np.fft.fft2(random.normal(size=(n, size, size))) / waves
    grey = np.fft.ifft2(spectrum).real
    grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) / grey.std(axis=(1, 2), keepdims=True)
    cast = random.uniform(0.7, 1.3, (n, 1, 1, channels))
    return np.clip((128 + 45 * grey[..., None]) * cast, 0, 255).astype(np.uint8)


def image(pixels: Pixels) -> Image.Image:
    """One canvas as Pillow has it."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def jpeg(pixels: Pixels, quality: int = 60) -> bytes:
    """One canvas as a JPEG file."""
    stream = io.BytesIO()
    image(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _from(picture: Image.Image, like: Pixels) -> Pixels:
    return np.asarray(picture).reshape(like.shape)


def _cropped(pixels: Pixels, by: int) -> Pixels:
    size = len(pixels)
    part = image(pixels).crop((by, by, size - by, size - by))
    return _from(part.resize((size, size), Image.Resampling.BILINEAR), pixels)


def _small_and_back(pixels: Pixels) -> Pixels:
    size = len(pixels)
    small = image(pixels).resize((size // 2, size // 2), Image.Resampling.BILINEAR)
    return _from(small.resize((size, size), Image.Resampling.BICUBIC), pixels)


EDITS: dict[str, Callable[[Pixels], Pixels]] = {
    "same": lambda pixels: pixels,
    "jpeg": lambda pixels: _from(Image.open(io.BytesIO(jpeg(pixels))), pixels),
    "brighter": lambda pixels: np.clip(pixels * 1.25, 0, 255).astype(np.uint8),
    "less contrast": lambda pixels: (25 + pixels * 0.8).astype(np.uint8),
    "mirrored": lambda pixels: pixels[:, ::-1],
    "halved and enlarged": _small_and_back,
    "cropped by 1": lambda pixels: _cropped(pixels, 1),
    "cropped by 2": lambda pixels: _cropped(pixels, 2),
    "shifted by 1": lambda pixels: np.roll(pixels, (1, 1), (0, 1)),
    "shifted by 2": lambda pixels: np.roll(pixels, (2, 2), (0, 1)),
    "grey": lambda pixels: np.repeat(np.asarray(image(pixels).convert("L"))[..., None], 3, axis=2),
}
"""One canvas to its copy."""

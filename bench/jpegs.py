"""Folders of JPEGs for the benchmarks: real pictures where Imagenette is at hand, else made ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from lightmeter.nouns.places import data_folder


def folder(target: Path, count: int, *, shorter: int | None = None) -> Path:
    """`count` JPEGs of two classes below `target`, their shorter side enlarged to `shorter` if that is given."""
    real = sorted((data_folder() / "imagenette").rglob("*.JPEG"))[::7][:count]
    for number in range(count):
        place = target / f"class {number % 2}" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        if number < len(real) and shorter is None:
            shutil.copy(real[number], place)
            continue
        picture = Image.open(real[number]).convert("RGB") if number < len(real) else _made(number)
        if shorter is not None:
            scale = shorter / min(picture.size)
            picture = picture.resize(
                (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
            )
        picture.save(place, quality=90)
    return target


def at_hand() -> bool:
    """Whether there are real pictures to make these of."""
    return (data_folder() / "imagenette").is_dir()


def tiled(target: Path, count: int, *, shorter: int) -> Path:
    """`count` JPEGs of 4 to 3 of two classes below `target`, each of many pictures side by side, at their own size.

    So the detail in a pixel is that of the pictures, and not of an enlargement, which a decoder reads faster.
    """
    real = sorted((data_folder() / "imagenette").rglob("*.JPEG"))
    drawn = np.random.default_rng(0)
    for number in range(count):
        whole, top = Image.new("RGB", (shorter * 4 // 3, shorter)), 0
        while top < whole.height:
            left, lowest = 0, whole.height
            while left < whole.width:
                one = int(drawn.integers(len(real) or 100))
                picture = Image.open(real[one]).convert("RGB") if real else _made(one)
                whole.paste(picture, (left, top))
                left, lowest = left + picture.width, min(lowest, picture.height)
            top += lowest
        place = target / f"class {number % 2}" / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        whole.save(place, quality=90)
    return target


def parted(target: Path, count: int | None) -> Path:
    """Imagenette as a folder with the parts `train` and `val`: all of it, or `count` pictures to learn from.

    Where it is not at hand, blurred noise in two classes, of which only the time that it takes means anything.
    """
    whole = data_folder() / "imagenette"
    if count is None and whole.exists():
        return whole
    for part, share in (("train", count or 300), ("val", (count or 300) // 3)):
        found = sorted((whole / part).rglob("*.JPEG"))
        chosen = found[:: max(1, len(found) // share)][:share]
        for number in range(share):
            place = target / part / (chosen[number].parent.name if chosen else f"class {number % 2}") / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            if chosen:
                shutil.copy(chosen[number], place)
            else:
                _made(number).save(place, quality=90)
    return target


def _made(number: int) -> Image.Image:
    """Blurred noise, which compresses about as well as a photograph."""
    noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)
    return Image.fromarray(noise).resize((213, 160), Image.Resampling.BICUBIC)

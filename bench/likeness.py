"""How often near duplicates are found, and strangers taken for them: `python -m bench.likeness`.

Of each named set that is here, 1,000 training pictures (500 of the digits) are edited in ways that people and programs
edit pictures, and looked for among all training pictures; and so are the pictures of its own held-out part. The record
is records/DATE-likeness/found.json, from which `bench.table` makes the table of docs/honest-numbers.md.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightmeter.nouns.likeness import near_duplicates, signatures
from lightmeter.nouns.places import cache_folder, data_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.sources import open_source
from lightmeter.verbs.environment import environment
from lightmeter.verbs.pack import pack

ROOT = Path(__file__).resolve().parents[1]
SETS = {
    "digits": (8, 1),
    "fashion-mnist": (28, 1),
    "tiny-imagenet": (32, 3),
    "cifar10": (32, 3),
    "imagenette": (128, 3),
}
"""Named set -> side and channels of its canvases."""

_MOST = 60_000  # training pictures that are searched: of larger sets, every so many

Pixels = NDArray[np.uint8]
Edit = Callable[[Pixels], Pixels]


def _as_jpeg(quality: int) -> Edit:
    def edit(picture: Pixels) -> Pixels:
        stream = io.BytesIO()
        Image.fromarray(picture.squeeze()).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream)).reshape(picture.shape)

    return edit


def _brighter(picture: Pixels) -> Pixels:
    return np.clip(1.3 * picture.astype(np.float32), 0, 255).round().astype(np.uint8)


def _mirrored(picture: Pixels) -> Pixels:
    return picture[:, ::-1]


def _halved(picture: Pixels) -> Pixels:
    side = picture.shape[0]
    small = Image.fromarray(picture.squeeze()).resize((side // 2, side // 2), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((side, side), Image.Resampling.BILINEAR)).reshape(picture.shape)


def _shifted(pixels: int) -> Edit:
    return lambda picture: np.pad(picture, ((pixels, 0), (pixels, 0), (0, 0)), "edge")[:-pixels, :-pixels]


def _cropped(pixels: int) -> Edit:
    def edit(picture: Pixels) -> Pixels:
        side = picture.shape[0]
        part = Image.fromarray(picture[pixels:-pixels, pixels:-pixels].squeeze())
        return np.asarray(part.resize((side, side), Image.Resampling.BILINEAR)).reshape(picture.shape)

    return edit


EDITS: dict[str, Edit] = {
    "JPEG, quality 75": _as_jpeg(75),
    "JPEG, quality 40": _as_jpeg(40),
    "30 % brighter": _brighter,
    "mirrored": _mirrored,
    "halved and enlarged again": _halved,
    "shifted by 1 pixel both ways": _shifted(1),
    "shifted by 2 pixels both ways": _shifted(2),
    "cropped by 1 pixel on each side": _cropped(1),
    "cropped by 2 pixels on each side": _cropped(2),
}


def measured(name: str) -> dict[str, Any]:
    """The figures of one set."""
    size, channels = SETS[name]
    dataset = open_source(name)
    made = pack(dataset, Preprocess.model_validate({"size": size, "channels": channels}), cache=cache_folder())
    parts = np.array([dataset.splits[dataset.row[id]] for id in made.ids])
    held_out = "test" if "test" in parts else "val" if "val" in parts else ""
    rows = np.arange(len(parts))
    inside = rows[parts == held_out] if held_out else rows[::5][:400]  # digits have no part: every fifth
    training = np.setdiff1d(rows, inside)
    training = training[:: -(-len(training) // _MOST)]
    began = time.process_time()
    seen = signatures(made.pixels, training)
    strangers = near_duplicates(signatures(made.pixels, inside), seen)
    seconds = time.process_time() - began
    some = training[:: max(1, len(training) // (1000 if len(training) > 5000 else 500))]
    some = some[: 1000 if len(training) > 5000 else 500]
    found = {}
    for words, edit in EDITS.items():
        edited = np.stack([np.ascontiguousarray(edit(made.pixels[row])) for row in some])
        twins = near_duplicates(signatures(edited, np.arange(len(edited))), seen)
        found[words] = float((twins >= 0).mean())
    return {
        "side": size,
        "training": len(training),
        "edited": len(some),
        "found": found,
        "held_out": len(inside),
        "called_twins": int((strangers >= 0).sum()),
        "processor_seconds": round(seconds, 2),
    }


def main() -> None:
    """Measure every set that is here and write the record."""
    sets = {name: measured(name) for name in SETS if name == "digits" or (data_folder() / name).is_dir()}
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-likeness"
    folder.mkdir(parents=True, exist_ok=True)
    about = {key: value for key, value in environment(0).items() if key not in ("command", "seed")}
    text = json.dumps({"command": "python -m bench.likeness", "environment": about, "sets": sets}, indent=1)
    (folder / "found.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()

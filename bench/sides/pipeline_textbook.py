"""The same input as tutorials make it: a folder of pictures, Pillow and a DataLoader with two workers.

`pipeline_textbook.py FOLDER SIDE augmented|first`; "first" resizes and crops the middle.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from protocol import answer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

BATCH = 64


class Folder(Dataset[tuple[Tensor, int]]):
    """Pictures below a folder, a class for each folder in it."""

    def __init__(self, root: Path, side: int, *, augment: bool) -> None:
        classes = sorted(path.name for path in root.iterdir())
        self.files = [(path, label) for label, name in enumerate(classes) for path in sorted((root / name).iterdir())]
        self.side, self.augment = side, augment

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        with Image.open(path) as file:
            picture = file.convert("RGB")
        picture = self._augmented(picture) if self.augment else self._middle(picture)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255, label

    def _augmented(self, picture: Image.Image) -> Image.Image:
        area = random.uniform(0.35, 1.0) * picture.width * picture.height
        shape = random.uniform(0.75, 4 / 3)
        width = min(picture.width, round((area * shape) ** 0.5))
        height = min(picture.height, round((area / shape) ** 0.5))
        left, top = random.randint(0, picture.width - width), random.randint(0, picture.height - height)
        box = (left, top, left + width, top + height)
        picture = picture.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)
        if random.random() < 0.5:
            picture = ImageOps.mirror(picture)
        for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = change(picture).enhance(random.uniform(0.8, 1.2))
        return picture

    def _middle(self, picture: Image.Image) -> Image.Image:
        scale = self.side / min(picture.size)
        picture = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
        )
        left, top = (picture.width - self.side) // 2, (picture.height - self.side) // 2
        return picture.crop((left, top, left + self.side, top + self.side))


def main() -> None:
    """Get ready, then measure when told."""
    augment = sys.argv[3] == "augmented"
    data = Folder(Path(sys.argv[1]), int(sys.argv[2]), augment=augment)

    def measure(loader: DataLoader[tuple[Tensor, int]]) -> dict[str, Any]:
        began, images = time.perf_counter(), 0
        for _, labels in loader:
            images += len(labels)
        return {"value": images / (time.perf_counter() - began)}

    if augment:
        kept = DataLoader(data, BATCH, shuffle=True, num_workers=2, persistent_workers=True)
        measure(kept)  # the first epoch starts the workers
        answer(lambda: measure(kept))
    else:
        answer(lambda: measure(DataLoader(data, BATCH, num_workers=2)))


if __name__ == "__main__":
    main()

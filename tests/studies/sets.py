"""Small copies of the named sets, in their published layouts, for studies at the scale of tests to run on anywhere."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from lightmeter.models.mobilenet_v2 import mobilenet_v2
from lightmeter.sources.imagenette import WORDS
from lightmeter.studies.settings import MOBILENET, TWO_CLASSES

_EACH = 20  # pictures per class


def make(root: Path) -> Path:
    """The four named sets, ten classes of Tiny ImageNet among them, and start weights that are noise, below `root`."""
    _cifar(root / "cifar10" / "cifar-10-batches-bin")
    _fashion(root / "fashion-mnist")
    _tiny(root / "tiny-imagenet")
    _imagenette(root / "imagenette")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = mobilenet_v2(2, channels=3, size=32)
    backbone = {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith(("classifier", "features.norm"))
    }
    (root / "weights").mkdir()
    save_file(backbone, root / "weights" / f"{MOBILENET}.safetensors")
    return root


def _pictures(label: int, side: int, channels: int, count: int) -> NDArray[np.uint8]:
    """uint8[count, side, side, channels]: stripes that tell the label, in noise that makes each picture another."""
    generator = np.random.default_rng(label)
    stripes = 80 + 80 * (np.arange(side) // (label + 1) % 2)
    noise = generator.integers(0, 80, (count, side, side, channels))
    return (stripes[:, None, None] + noise).astype(np.uint8)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _write(folder: Path, name: str, pixels: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pixels):
        (folder / f"{name}_{number}.JPEG").write_bytes(_jpeg(picture))


def _cifar(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(f"class{label}" for label in range(10)) + "\n\n")
    classes = [_pictures(label, 32, 3, 3 * 6) for label in range(10)]
    for batch in range(6):
        records = [
            bytes([label]) + picture.transpose(2, 0, 1).tobytes()
            for label, pictures in enumerate(classes)
            for picture in pictures[3 * batch : 3 * batch + 3]
        ]
        name = f"data_batch_{batch + 1}" if batch < 5 else "test_batch"
        (folder / f"{name}.bin").write_bytes(b"".join(records))


def _fashion(folder: Path) -> None:
    folder.mkdir(parents=True)
    pictures = np.stack([_pictures(label, 28, 1, _EACH) for label in range(10)], axis=1)[..., 0]
    for stem, part in (("train", pictures[: _EACH // 2]), ("t10k", pictures[_EACH // 2 :])):
        labels = np.tile(np.arange(10, dtype=np.uint8), len(part))
        for name, array in (("images-idx3", part.reshape(-1, 28, 28)), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            (folder / f"{stem}-{name}-ubyte.gz").write_bytes(gzip.compress(content))


def _tiny(folder: Path) -> None:
    names = [name for pair in TWO_CLASSES for name in pair]
    wnids = [f"n{number:08}" for number in range(len(names))]
    for label, wnid in enumerate(wnids):
        pictures = _pictures(label, 64, 3, _EACH + 1)
        _write(folder / "train" / wnid / "images", wnid, pictures[:-1])
        _write(folder / "val" / "images", f"val_{label}", pictures[-1:])
    lines = [f"val_{label}_0.JPEG\t{wnid}\t0\t0\t63\t63" for label, wnid in enumerate(wnids)]
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "wnids.txt").write_text("\n".join(wnids))
    words = [f"{wnid}\t{name}, another word" for wnid, name in zip(wnids, names, strict=True)]
    (folder / "words.txt").write_text("\n".join(words) + "\n")


def _imagenette(folder: Path) -> None:
    for label, wnid in enumerate(WORDS):
        pictures = _pictures(label, 48, 3, _EACH)
        _write(folder / "train" / wnid, wnid, pictures[: _EACH // 2])
        _write(folder / "val" / wnid, f"ILSVRC2012_val_{wnid}", pictures[_EACH // 2 :])

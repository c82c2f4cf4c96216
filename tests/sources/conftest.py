"""Small pictures and small copies of the published layouts, made on the spot."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmeter.sources import SourceOptions
from lightmeter.sources.imagenette import WORDS


def png(value: int) -> bytes:
    """A picture that no other value gives."""
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (value % 256, value // 256 % 256, 7)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def write() -> Callable[..., None]:
    """write(root, "cat/a.png", "dog/b.png", ...): a different picture into each of these files."""

    def write(root: Path, *names: str) -> None:
        for number, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))

    return write


@pytest.fixture
def options(tmp_path_factory: pytest.TempPathFactory) -> SourceOptions:
    return SourceOptions(cache=tmp_path_factory.mktemp("cache"))


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """Six training and four test images of 5x3 pixels, three classes; the training files are gzipped."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for stem, n in (("train", 6), ("t10k", 4)):
        images = np.arange(n * 15, dtype=np.uint8).reshape(n, 5, 3) + len(stem)
        for name, array in (("images-idx3", images), ("labels-idx1", np.arange(n, dtype=np.uint8) % 3)):
            content = idx_bytes(array)
            if stem == "train":
                (folder / f"{stem}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
            else:
                (folder / f"{stem}-{name}-ubyte").write_bytes(content)
    return folder


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    """Two images per batch, with the red plane 1, the green 2 and the blue 3 above the batch's number times ten."""
    folder = tmp_path / "cifar" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    for number, name in enumerate(
        ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    ):
        planes = np.repeat(np.array([1, 2, 3], np.uint8) + 10 * number, 1024).tobytes()
        (folder / f"{name}.bin").write_bytes(bytes([number % 3]) + planes + bytes([2]) + planes)
    return folder.parent


@pytest.fixture
def tiny_folder(tmp_path: Path, write: Callable[..., None]) -> Path:
    root = tmp_path / "tiny" / "tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]
    write(root, *(f"train/{wnid}/images/{wnid}_{i}.JPEG" for wnid in wnids for i in range(3)))
    for wnid in wnids:
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("boxes")
    write(root, "val/images/val_0.JPEG", "val/images/val_1.JPEG", "test/images/test_0.JPEG")
    (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t1\t1\nval_1.JPEG\tn01\t0\t0\t1\t1\n")
    (root / "wnids.txt").write_text("\n".join(wnids))
    (root / "words.txt").write_text("n00\tentity\nn01\tcrane\nn02\tcrane, wader\nn03\tgoldfish, Carassius auratus\n")
    return root.parent


@pytest.fixture
def imagenette_folder(tmp_path: Path, write: Callable[..., None]) -> Path:
    root = tmp_path / "nette" / "imagenette2-160"
    write(root, *(f"{part}/{wnid}/{i}.JPEG" for part in ("train", "val") for wnid in WORDS for i in range(2)))
    (root / "noisy_imagenette.csv").write_text("path,noisy\n")
    return root.parent

"""The published layouts: small copies that show each rule, and the real sets where they are."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmeter.errors import SourceError
from lightmeter.sources import SourceOptions, cifar, digits, idx, imagenette, open_source, tiny_imagenet


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_digits_are_those_of_scikit_learn(options: SourceOptions) -> None:
    from sklearn.datasets import load_digits

    dataset = digits.load(None, options)
    original = load_digits()
    assert len(dataset) == 1797
    assert dataset.classes == tuple("0123456789")
    assert set(dataset.splits) == {""}
    assert dataset.labels.tolist() == original.target.tolist()
    for row in (0, 17, 1796):
        expected = np.floor(original.images[row] * 255 / 16 + 0.5)
        assert np.array_equal(pixels(dataset.read(dataset.ids[row])), expected)


def test_idx_files_are_read_gzipped_or_not(idx_folder: Path, options: SourceOptions) -> None:
    dataset = idx.load(idx_folder, options)
    assert dataset.ids[:2] == ("train/00000", "train/00001")
    assert dataset.ids[-1] == "test/00003"
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert dataset.classes == ("0", "1", "2")
    assert dataset.splits == ("train",) * 6 + ("test",) * 4
    expected = np.arange(15, 30, dtype=np.uint8).reshape(5, 3) + 5
    assert np.array_equal(pixels(dataset.read("train/00001")), expected)
    assert dataset.read("train/00001").startswith(b"P5\n3 5\n255\n")


@pytest.mark.parametrize("damage", ["missing", "gzip", "short", "kind", "partner"])
def test_broken_idx_files_are_named(idx_folder: Path, options: SourceOptions, damage: str) -> None:
    plain, packed = idx_folder / "t10k-images-idx3-ubyte", idx_folder / "train-labels-idx1-ubyte.gz"
    if damage == "missing":
        plain.unlink()
    elif damage == "gzip":
        packed.write_bytes(packed.read_bytes()[:-6])
    elif damage == "short":
        plain.write_bytes(plain.read_bytes()[:-1])
    elif damage == "kind":
        plain.write_bytes(b"\x00\x00\x0d" + plain.read_bytes()[3:])
    else:
        packed.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 0])))
    name = {"gzip": "train-labels", "partner": "train-images"}.get(damage, "t10k-images")
    with pytest.raises(SourceError, match=name):
        idx.load(idx_folder, options)


def test_cifar_planes_become_pixels(cifar_folder: Path, options: SourceOptions) -> None:
    for location in (cifar_folder, cifar_folder / "cifar-10-batches-bin"):
        dataset = cifar.load(location, options)
        assert dataset.classes == ("airplane", "automobile", "bird")
        assert dataset.splits == ("train",) * 10 + ("test",) * 2
        assert dataset.labels.tolist() == [0, 2, 1, 2, 2, 2, 0, 2, 1, 2, 2, 2]
        image = pixels(dataset.read("train/00003"))
        assert image.shape == (32, 32, 3)
        assert (image == [11, 12, 13]).all()
        assert dataset.read("test/00001").startswith(b"P6\n32 32\n255\n")


def test_pickled_cifar_is_never_loaded(tmp_path: Path, options: SourceOptions) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"")
    with pytest.raises(SourceError, match=r"pickled(.|\n)*binary version"):
        cifar.load(tmp_path, options)


def test_a_short_batch_and_an_unknown_label_are_named(cifar_folder: Path, options: SourceOptions) -> None:
    batch = cifar_folder / "cifar-10-batches-bin" / "data_batch_2.bin"
    whole = batch.read_bytes()
    batch.write_bytes(whole[:-1])
    with pytest.raises(SourceError, match=r"data_batch_2\.bin has 6145 bytes"):
        cifar.load(cifar_folder, options)
    batch.write_bytes(b"\x07" + whole[1:])
    with pytest.raises(SourceError, match="holds label 7"):
        cifar.load(cifar_folder, options)


def test_tiny_imagenet_takes_labels_and_words_from_its_lists(tiny_folder: Path, options: SourceOptions) -> None:
    dataset = tiny_imagenet.load(tiny_folder, options)
    assert dataset.classes == ("crane (n01)", "crane (n02)", "goldfish")
    assert len(dataset) == 9 + 2
    label = dict(zip(dataset.ids, dataset.labels.tolist(), strict=True))
    assert label["val/images/val_0.JPEG"] == 1
    assert label["val/images/val_1.JPEG"] == 0
    assert label["train/n03/images/n03_2.JPEG"] == 2
    assert dict(zip(dataset.ids, dataset.splits, strict=True))["val/images/val_0.JPEG"] == "val"
    assert not any(id.startswith("test") for id in dataset.ids)


def test_tiny_imagenet_with_lists_that_do_not_fit(tiny_folder: Path, options: SourceOptions) -> None:
    annotations = tiny_folder / "tiny-imagenet-200/val/val_annotations.txt"
    whole = annotations.read_text()
    annotations.write_text(whole + "val_9.JPEG\tn01\n")
    with pytest.raises(SourceError, match=r"lacks 1 annotated images, such as val/images/val_9\.JPEG"):
        tiny_imagenet.load(tiny_folder, options)
    annotations.write_text(whole.splitlines()[0])
    with pytest.raises(SourceError, match=r"val_1\.JPEG has no label"):
        tiny_imagenet.load(tiny_folder, options)


def test_imagenette_shows_words(imagenette_folder: Path, options: SourceOptions) -> None:
    for location in (imagenette_folder, imagenette_folder / "imagenette2-160"):
        dataset = imagenette.load(location, options)
        assert dataset.classes[:2] == ("tench", "English springer")
        assert dataset.classes[-1] == "parachute"
        assert dataset.ids[0] == "train/n01440764/0.JPEG"
        assert dataset.counts().tolist() == [4] * 10
        assert dataset.splits.count("val") == 20


@pytest.mark.parametrize("load", [idx.load, cifar.load, tiny_imagenet.load, imagenette.load])
def test_another_layout_is_refused(tmp_path: Path, load: Callable[..., object], options: SourceOptions) -> None:
    with pytest.raises(SourceError, match="Expected"):
        load(tmp_path, options)


# The counts below are those of shared test copies as well as of the originals, where the two differ as a range.
REAL = {
    "fashion-mnist": ({"train": (60_000, 60_000), "test": (10_000, 10_000)}, 10, ("T-shirt/top", "Trouser")),
    "cifar10": ({"train": (49_000, 50_000), "test": (9_800, 10_000)}, 10, ("airplane", "automobile")),
    "tiny-imagenet": ({"train": (100_000, 100_000), "val": (10_000, 10_000)}, 200, ("goldfish",)),
    "imagenette": ({"train": (9_469, 9_469), "val": (3_925, 3_925)}, 10, ("tench", "English springer")),
}


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_the_real_set(name: str, named_set: Callable[[str], Path], tmp_path: Path) -> None:
    location = named_set(name)
    parts, num_classes, first = REAL[name]
    dataset = open_source(name, cache=tmp_path)
    for part, (low, high) in parts.items():
        assert low <= dataset.splits.count(part) <= high
    assert set(dataset.splits) == set(parts)
    assert len(dataset.classes) == len(set(dataset.classes)) == num_classes
    assert dataset.classes[: len(first)] == first
    assert dataset.counts().min() > 0.7 * dataset.counts().max()
    for id in dataset.ids[:: len(dataset) // 7]:
        assert pixels(dataset.read(id)).dtype == np.uint8
    assert dataset.provenance.official in ("verified", "unverified")
    by_path = open_source(str(location), cache=tmp_path)  # known by sight without its name
    assert by_path.fingerprint == dataset.fingerprint

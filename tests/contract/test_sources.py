"""What every source promises, whatever it reads; a new entry of `SOURCES` needs an example here and gets the rest."""

from __future__ import annotations

import hashlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lightmeter.nouns.dataset import SPLIT_NAMES, Dataset
from lightmeter.sources import SOURCES, SourceOptions
from lightmeter.sources.imagenette import WORDS
from lightmeter.sources.named import NAMED
from lightmeter.sources.opening import LAYOUTS

Example = Callable[[Path], Path | None]


def write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())  # a source never decodes, so that any bytes will do
    return root


def folder(root: Path) -> Path:
    return write(root, "train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png")


def table(root: Path) -> Path:
    write(root, "1.png", "2.png")
    (root / "table.csv").write_text("path,label,split,group\n1.png,a,train,x\n2.png,b,,\n")
    return root / "table.csv"


def idx(root: Path) -> Path:
    for stem in ("train", "t10k"):
        sizes = np.array([3, 2, 2], ">u4").tobytes()
        (root / f"{stem}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + sizes + bytes(range(12)))
        (root / f"{stem}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + sizes[:4] + bytes([0, 1, 1]))
    return root


def cifar(root: Path) -> Path:
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (root / f"{name}.bin").write_bytes(bytes([name == "test_batch"]) + bytes(3072))
    (root / "batches.meta.txt").write_text("a\nb\n")
    return root


def tiny_imagenet(root: Path) -> Path:
    write(root, "train/n1/images/1.JPEG", "train/n2/images/2.JPEG", "val/images/3.JPEG")
    (root / "val/val_annotations.txt").write_text("3.JPEG\tn1\n")
    (root / "wnids.txt").write_text("n1\nn2\n")
    (root / "words.txt").write_text("n1\tone\n")
    return root


def imagenette(root: Path) -> Path:
    return write(root, *(f"{part}/{wnid}/{part}.JPEG" for part in ("train", "val") for wnid in WORDS))


EXAMPLES: dict[str, Example] = {
    "digits": lambda root: None,
    "folder": folder,
    "table": table,
    "idx": idx,
    "cifar": cifar,
    "tiny_imagenet": tiny_imagenet,
    "imagenette": imagenette,
}


@pytest.fixture(params=SOURCES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path | None, SourceOptions, Dataset]:
    assert request.param in EXAMPLES, f"add an example of {request.param} to this file"
    root = tmp_path / "data"
    root.mkdir()
    location = EXAMPLES[request.param](root)
    options = SourceOptions(cache=tmp_path / "cache")
    return request.param, location, options, SOURCES[request.param](location, options)


Opened = tuple[str, Path | None, SourceOptions, Dataset]


def test_ids_are_unique_and_portable(opened: Opened) -> None:
    dataset = opened[3]
    assert len(set(dataset.ids)) == len(dataset) > 1
    assert not any("\\" in id for id in dataset.ids)


def test_hashes_are_those_of_what_is_read(opened: Opened) -> None:
    dataset = opened[3]
    for id, value in list(zip(dataset.ids, dataset.hashes, strict=True))[:50]:
        assert hashlib.sha256(dataset.read(id)).hexdigest() == value


def test_classes_and_parts_are_well_formed(opened: Opened) -> None:
    kind, _, _, dataset = opened
    assert len(set(dataset.classes)) == len(dataset.classes) == len(set(dataset.labels.tolist()))
    assert set(dataset.splits) <= {*SPLIT_NAMES, ""}
    assert dataset.provenance.source == kind
    assert dataset.name


def test_a_second_load_is_equal(opened: Opened) -> None:
    kind, location, options, dataset = opened
    assert SOURCES[kind](location, options).fingerprint == dataset.fingerprint


def test_the_reader_can_be_handed_to_a_worker(opened: Opened) -> None:
    dataset = opened[3]
    assert pickle.loads(pickle.dumps(dataset.read))(dataset.ids[-1]) == dataset.read(dataset.ids[-1])  # noqa: S301


def test_loading_changes_nothing(opened: Opened) -> None:
    kind, location, options, _ = opened
    if location is None:
        return
    root = location if location.is_dir() else location.parent
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    SOURCES[kind](location, options)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_every_source_has_the_one_signature() -> None:
    for load in SOURCES.values():
        assert list(inspect.signature(load).parameters) == ["location", "options"]


def test_every_named_set_and_layout_has_its_source() -> None:
    assert {named.source for named in NAMED.values()} <= set(LAYOUTS) <= set(SOURCES)
    assert all(file.address.startswith("https://") for named in NAMED.values() for file in named.files)
    assert all(len(bytes.fromhex(file.md5)) == 16 for named in NAMED.values() for file in named.files)

"""The index of known files: right when files change, rebuilt when broken, and used when nothing changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lightmeter.sources import SourceOptions, scan
from lightmeter.sources.folder import load

OLD = 1_600_000_000


@pytest.fixture
def root(tmp_path: Path, write: Callable[..., None]) -> Path:
    write(tmp_path / "root", "cat/a.png", "dog/b.png")
    for path in (tmp_path / "root").rglob("*.png"):
        os.utime(path, (OLD, OLD))
    return tmp_path / "root"


def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    hash_one = scan._hash

    def watched(root: Path, entry: scan.Entry) -> tuple[str, str, str]:
        read.append(entry.path)
        return hash_one(root, entry)

    monkeypatch.setattr(scan, "_hash", watched)
    return read


def test_hashes_are_those_of_the_bytes(root: Path, options: SourceOptions) -> None:
    for _ in range(2):  # read, then remembered
        dataset = load(root, options)
        for id, value in zip(dataset.ids, dataset.hashes, strict=True):
            assert value == hashlib.sha256((root / id).read_bytes()).hexdigest()


def test_a_second_scan_reads_only_what_changed(
    root: Path, options: SourceOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = files_read(monkeypatch)
    load(root, options)
    assert sorted(read) == ["cat/a.png", "dog/b.png"]
    read.clear()
    load(root, options)
    assert read == []
    (root / "dog/b.png").write_bytes((root / "cat/a.png").read_bytes())
    os.utime(root / "dog/b.png", (OLD + 5, OLD + 5))
    dataset = load(root, options)
    assert read == ["dog/b.png"]
    assert dataset.hashes[0] == dataset.hashes[1]


def test_a_file_changed_just_now_is_not_trusted_next_time(
    root: Path, options: SourceOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(root / "cat/a.png")
    read = files_read(monkeypatch)
    load(root, options)
    load(root, options)
    assert sorted(read) == ["cat/a.png", "cat/a.png", "dog/b.png"]


@pytest.mark.parametrize("damage", ["", "rubbish", "cut", "flip"])
def test_a_damaged_index_is_built_again(root: Path, options: SourceOptions, damage: str) -> None:
    before = load(root, options)
    (index,) = (options.cache / "scans").iterdir()
    whole = index.read_bytes()
    flipped = whole.replace(before.hashes[0].encode(), b"0" * 64)
    index.write_bytes({"": b"", "rubbish": b"\xff\x00", "cut": whole[:-9], "flip": flipped}[damage])
    assert load(root, options).hashes == before.hashes
    assert index.read_bytes() == whole


def test_a_cache_that_cannot_be_written_only_costs_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(load(root, SourceOptions(cache=tmp_path / "file"))) == 2

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lightmeter.errors import FormatError, StorageError
from lightmeter.nouns.files import append_line, atomic_folder, read_json, storage_errors, write_atomic, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_where_a_file_stands_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        write_atomic(tmp_path / "file" / "below.txt", "")


def test_an_atomic_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as fresh:
        (fresh / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["out"]


def test_an_atomic_folder_replaces_the_old_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with atomic_folder(tmp_path / "out") as fresh:
            (fresh / name).write_text(name)
    assert os.listdir(tmp_path / "out") == ["b"]
    assert os.listdir(tmp_path) == ["out"]


def test_an_atomic_folder_vanishes_on_failure(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_folder(tmp_path / "out") as fresh:
            (fresh / "a").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_lines_are_appended(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "one")
    append_line(tmp_path / "log", "zwei é")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\nzwei é\n"


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable JSON"),
        ("[]", "no format number"),
        ('{"format": true}', "no format number"),
        ('{"format": 2}', "of format 2"),
        ('{"format": 0}', "of format 0"),
    ],
)
def test_a_document_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_json(tmp_path / "a.json", kind="run", newest=1)


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.json does not exist"):
        read_json(tmp_path / "a.json", kind="run", newest=1)


def test_an_unknown_system_error_keeps_its_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Input/output error"), storage_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

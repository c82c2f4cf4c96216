from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lightmeter.errors import SourceError
from lightmeter.sources import SourceOptions
from lightmeter.sources.folder import load

Write = Callable[..., None]


def test_the_folder_below_the_root_is_the_class(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "dog/b.png", "cat/a.JPG", "cat/deeper/down/c.webp")
    dataset = load(tmp_path, options)
    assert dataset.classes == ("cat", "dog")
    assert dataset.ids == ("cat/a.JPG", "cat/deeper/down/c.webp", "dog/b.png")
    assert dataset.labels.tolist() == [0, 0, 1]
    assert set(dataset.splits) == {""}
    assert dataset.provenance.official == "own"
    assert dataset.read("dog/b.png") == (tmp_path / "dog/b.png").read_bytes()


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_parts_above_the_classes(tmp_path: Path, write: Write, options: SourceOptions, val: str) -> None:
    write(tmp_path, "train/cat/a.png", "train/dog/b.png", f"{val}/cat/c.png", "test/dog/d.png")
    dataset = load(tmp_path, options)
    assert dict(zip(dataset.ids, dataset.splits, strict=True)) == {
        "train/cat/a.png": "train",
        "train/dog/b.png": "train",
        f"{val}/cat/c.png": "val",
        "test/dog/d.png": "test",
    }
    assert dataset.classes == ("cat", "dog")


def test_a_class_may_be_called_train(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "train/a.png", "bus/b.png")
    assert load(tmp_path, options).classes == ("bus", "train")


def test_numbers_are_ordered_as_numbers(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "10/a.png", "9/b.png", "0/c.png")
    assert load(tmp_path, options).classes == ("0", "9", "10")


def test_names_of_any_script_and_with_spaces(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "Größe 猫/a b.png", "train/cafe\u0301/x.png")
    assert load(tmp_path, options).classes == ("Größe 猫", "train")
    write(tmp_path / "two", "train/cafe\u0301/x.png", "train/dog/y.png", "val/caf\u00e9/z.png")
    assert load(tmp_path / "two", options).classes == ("caf\u00e9", "dog")  # one class in two Unicode spellings


def test_what_is_left_out_is_counted(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "cat/a.png", "dog/b.png", "loose.png", ".hidden/c.png", "cat/.d.png", "cat/notes.txt", "dog/x.TXT")
    (tmp_path / "bird").mkdir()
    (tmp_path / "cat" / "Makefile").write_text("")
    dataset = load(tmp_path, options)
    assert dataset.ids == ("cat/a.png", "dog/b.png")
    assert dataset.provenance.notes == (
        "1 picture directly in the folder itself without a class folder, left out",
        "3 files without an image suffix left out (2 .txt, 1 no suffix)",
        "no pictures in bird",
    )


def test_unlabelled_test_pictures_are_left_out_and_said(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "train/cat/a.png", "train/dog/b.png", "test/1.png", "test/2.png")
    dataset = load(tmp_path, options)
    assert set(dataset.splits) == {"train"}
    assert "2 pictures directly in test/ without a class folder, left out" in dataset.provenance.notes


def test_an_undecodable_picture_is_still_an_item(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "dog/c.heic").write_bytes(b"")
    assert "dog/c.heic" in load(tmp_path, options).ids


def test_links_are_followed_but_not_in_circles(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path / "elsewhere", "a.png")
    write(tmp_path / "root", "cat/b.png")
    (tmp_path / "root/dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/cat/up").symlink_to(tmp_path / "root")
    assert load(tmp_path / "root", options).ids == ("cat/b.png", "dog/a.png")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"holds no pictures: it has no files\."),
        (["cat/a.txt", "dog/b.txt", "dog/c.csv"], r"holds no pictures: it has 2 files \(\.txt\), 1 file \(\.csv\)\."),
        (["a.png", "b.png"], "holds pictures but no class folders"),
        (["train/a.png", "test/b.png"], "hold pictures but no class folders"),
        (["test/cat/a.png", "test/dog/b.png"], "no train folder"),
        (["train/cat/a.png", "val/cat/b.png", "valid/cat/c.png"], "several folders for one part: val, valid"),
        (["train/cat/a.png", "test/cat/b.png", "new/cat/c.png"], "new with pictures lie beside test, train"),
        (["photos/cat/a.png", "photos/dog/b.png"], r"'cat' and 'dog' are the classes, name .*photos instead"),
    ],
)
def test_a_folder_that_is_no_source_is_explained(
    tmp_path: Path, write: Write, options: SourceOptions, names: list[str], message: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write(root, *names)
    with pytest.raises(SourceError, match=message):
        load(root, options)


def test_no_such_folder(tmp_path: Path, options: SourceOptions) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        load(tmp_path / "none", options)
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="is a file"):
        load(tmp_path / "file", options)


def test_a_file_name_that_is_not_utf8_is_named(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "cat/a.png", "dog/b.png")
    try:
        (tmp_path / os.fsdecode(b"dog/\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system only takes names in UTF-8")
    with pytest.raises(SourceError, match=r"xff\.png.* is not UTF-8"):
        load(tmp_path, options)


def test_a_broken_link_is_an_error_or_listed(tmp_path: Path, write: Write, options: SourceOptions) -> None:
    write(tmp_path, "cat/a.png", "dog/b.png")
    (tmp_path / "dog/c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(SourceError, match=r"dog/c\.png: no such file(.|\n)*--on-bad quarantine"):
        load(tmp_path, options)
    dataset = load(tmp_path, SourceOptions(on_bad="quarantine", cache=options.cache))
    assert dataset.ids == ("cat/a.png", "dog/b.png")
    assert [bad.id for bad in dataset.bad] == ["dog/c.png"]

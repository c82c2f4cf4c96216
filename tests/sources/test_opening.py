"""What the user writes, to the right Dataset or to an error that helps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lightmeter.errors import SourceError
from lightmeter.sources import SourceOptions, open_source

Write = Callable[..., None]


@pytest.fixture
def photos(tmp_path: Path, write: Write) -> Path:
    write(tmp_path / "photos", "cat/a.png", "cat/b.png", "dog/c.png", "dog/d.png", "wolf/e.png")
    return tmp_path / "photos"


def test_a_folder_a_table_and_a_name_are_opened(photos: Path) -> None:
    assert open_source(str(photos)).provenance.source == "folder"
    (photos / "t.csv").write_text("path,label\ncat/a.png,x\ndog/c.png,y\n")
    assert open_source(str(photos / "t.csv")).provenance.source == "table"
    assert open_source("digits").provenance.source == "digits"


def test_layouts_are_known_by_sight(
    idx_folder: Path, cifar_folder: Path, tiny_folder: Path, imagenette_folder: Path
) -> None:
    assert open_source(str(idx_folder)).provenance.source == "idx"
    assert open_source(str(cifar_folder)).provenance.source == "cifar"
    assert open_source(str(cifar_folder / "cifar-10-batches-bin")).provenance.source == "cifar"
    assert open_source(str(tiny_folder)).provenance.source == "tiny_imagenet"
    assert open_source(str(imagenette_folder)).provenance.source == "imagenette"


def test_a_name_that_is_not_there_yet_says_how_to_get_it() -> None:
    with pytest.raises(SourceError, match=r"lightmeter data fetch cifar10(.|\n)*LIGHTMETER_DATA"):
        open_source("cifar10")


@pytest.mark.parametrize(
    ("source", "meant"), [("cifar-10", "cifar10"), ("fashion_mnist", "fashion-mnist"), ("Digits", "digits")]
)
def test_a_near_miss_of_a_name(source: str, meant: str) -> None:
    with pytest.raises(SourceError, match=f"did you mean '{meant}'"):
        open_source(source)


def test_a_near_miss_of_a_path(photos: Path) -> None:
    with pytest.raises(SourceError, match=r"did you mean '.*photos'"):
        open_source(str(photos.with_name("fotos")))
    with pytest.raises(SourceError, match=r"the folder .*nowhere does not exist either"):
        open_source(str(photos / "nowhere" / "x"))


def test_a_file_that_is_no_table(photos: Path) -> None:
    with pytest.raises(SourceError, match="is a file, but no table"):
        open_source(str(photos / "cat" / "a.png"))


def test_a_function_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_source_module.py").write_text(
        "from lightmeter.sources import SOURCES\n"
        "def good(location, options):\n    return SOURCES['digits'](location, options)\n"
        "def wrong(location, options):\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert len(open_source("own_source_module:good")) == 1797
    with pytest.raises(SourceError, match="returned a int"):
        open_source("own_source_module:wrong")
    with pytest.raises(SourceError, match="could not be imported"):
        open_source("own_source_module:absent")
    sys.modules.pop("own_source_module", None)


def test_classes_are_renamed_without_touching_the_folder(photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.rglob("*"))
    for name, text in (
        ("m.json", json.dumps({"cat": "Katze", "dog": "Hund/Rüde"})),
        ("m.csv", "cat,Katze\ndog,Hund/Rüde\n"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        dataset = open_source(str(photos), class_names=tmp_path / name)
        assert dataset.classes == ("Katze", "Hund/Rüde", "wolf")
        assert dataset.labels.tolist() == [0, 0, 1, 1, 2]
    assert sorted(photos.rglob("*")) == before


def test_two_classes_given_one_name_become_one(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("old,new\ndog,canine\nwolf,canine\n")
    dataset = open_source(str(photos), class_names=tmp_path / "m.csv")
    assert dataset.classes == ("cat", "canine")
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert "'dog', 'wolf' were merged into 'canine'" in dataset.provenance.notes


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", '{"cats": "x"}', r"renames 'cats', which is not in the data(.|\n)*did you mean 'cat'"),
        ("m.json", "[1]", "not a mapping"),
        ("m.json", "{", "not JSON"),
        ("m.json", '{"cat": 3}', "not a mapping"),
        ("m.csv", "cat\n", "not a mapping"),
        ("m.csv", "cat,\n", "not a mapping"),
        ("m.csv", "cat,a\ncat,b\n", "two new names"),
        ("m.json", '{"cat": "a", "cat": "b"}', "two new names"),
    ],
)
def test_a_mapping_that_cannot_be_used(photos: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        open_source(str(photos), class_names=tmp_path / name)


def test_no_mapping_file(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv could not be read"):
        open_source(str(photos), class_names=tmp_path / "none.csv")


def test_quarantine_reaches_the_source(photos: Path, options: SourceOptions) -> None:
    (photos / "t.csv").write_text("path,label\ncat/a.png,x\ndog/c.png,y\ndog/gone.png,y\n")
    dataset = open_source(str(photos / "t.csv"), on_bad="quarantine", cache=options.cache)
    assert [bad.id for bad in dataset.bad] == ["dog/gone.png"]
    assert (options.cache / "scans").is_dir()

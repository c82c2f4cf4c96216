from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lightmeter.errors import SourceError
from lightmeter.sources import SourceOptions
from lightmeter.sources.table import load

Write = Callable[..., None]


@pytest.fixture
def root(tmp_path: Path, write: Write) -> Path:
    write(tmp_path, "img/a.png", "img/b.png", "img/c.png")
    return tmp_path


def table(root: Path, text: str, name: str = "table.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_paths_are_relative_to_the_table_or_absolute(root: Path, options: SourceOptions) -> None:
    dataset = load(table(root, f"path,label\nimg/b.png,dog\n{root}/img/a.png,cat\n"), options)
    assert dataset.ids == ("img/b.png", f"{root}/img/a.png")
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [1, 0]
    for id, file in zip(dataset.ids, ("b", "a"), strict=True):
        assert dataset.read(id) == (root / f"img/{file}.png").read_bytes()


@pytest.mark.parametrize("header", ["file,class", "FileName,Target", "image,category", "split,x,Path,LABEL"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_usual_names_and_delimiters_are_found(root: Path, options: SourceOptions, header: str, delimiter: str) -> None:
    extra = "train,1," if header.startswith("split") else ""
    lines = [header, f"{extra}img/a.png,cat", f"{extra}img/b.png,dog"]
    dataset = load(table(root, "\n".join(lines).replace(",", delimiter)), options)
    assert dataset.classes == ("cat", "dog")
    assert set(dataset.splits) == ({"train"} if extra else {""})


def test_class_names_are_taken_as_they_are(root: Path, options: SourceOptions) -> None:
    text = '\ufeffpath,label\nimg/a.png,"black, white/grey 猫"\nimg/b.png,T-shirt/top\nimg/c.png,Größe XL\n'
    assert load(table(root, text), options).classes == ("Größe XL", "T-shirt/top", "black, white/grey 猫")


def test_columns_can_be_named(root: Path, options: SourceOptions) -> None:
    path = table(root, "p,l,g,s\nimg/a.png,1,x,Training\nimg/b.png,2,x,dev\nimg/c.png,10,,TEST\n")
    chosen = SourceOptions(path_column="p", label_column="l", group_column="g", split_column="s", cache=options.cache)
    dataset = load(path, chosen)
    assert dataset.classes == ("1", "2", "10")
    assert dataset.groups == ("x", "x", "")
    assert dataset.splits == ("train", "val", "test")


def test_parquet_gives_what_csv_gives(root: Path, options: SourceOptions) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"path": ["img/a.png", "img/b.png"], "label": [3, 12], "group": [None, "x"]}
    parquet.write_table(pa.table(columns), root / "table.parquet")
    from_csv = load(table(root, "path,label,group\nimg/a.png,3,\nimg/b.png,12,x\n"), options)
    assert load(root / "table.parquet", options).fingerprint == from_csv.fingerprint


def test_missing_files_are_an_error_or_listed(root: Path, options: SourceOptions) -> None:
    rows = "".join(f"img/gone{number}.png,dog\n" for number in range(25))
    path = table(root, "path,label\nimg/a.png,cat\nimg/b.png,dog\nimg,dog\n" + rows)
    with pytest.raises(
        SourceError, match=r"26 files cannot be used(.|\n)*img/gone0\.png: no such file(.|\n)*and 6 more"
    ):
        load(path, options)
    dataset = load(path, SourceOptions(on_bad="quarantine", cache=options.cache))
    assert dataset.ids == ("img/a.png", "img/b.png")
    assert {bad.reason for bad in dataset.bad} == {"no such file", "is a folder"}
    assert len(dataset.bad) == 26


def test_a_row_that_repeats_counts_once(root: Path, options: SourceOptions) -> None:
    dataset = load(table(root, "path,label\nimg/a.png,cat\nimg/b.png,dog\nimg/a.png,cat\n"), options)
    assert dataset.ids == ("img/a.png", "img/b.png")
    assert dataset.provenance.notes == ("1 rows repeat an earlier row and count once",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no rows"),
        ("path,label\n", "holds no rows"),
        ("path,size\nimg/a.png,3\n", r"no column that is usual for the label: it has path, size(.|\n)*--label-column"),
        ("img/a.png,cat\nimg/b.png,dog\n", "no column that is usual for the path"),
        ("path,label\nimg/a.png,\n", "row 2: the label is empty"),
        ("path,label\n,cat\n", "row 2: the path is empty"),
        (
            "path,label\nimg/a.png,cat\nimg/a.png,dog\n",
            "row 3: 'img/a.png' is listed before with 'cat', and here 'dog'",
        ),
        ("path,label\nimg/a.png,cat,dog\n", "row 2 has 3 cells, but the header 2"),
        ("path,label,split\nimg/a.png,cat,fold 1\n", "has the split 'fold 1'"),
    ],
)
def test_a_table_that_is_no_source_is_explained(root: Path, options: SourceOptions, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        load(table(root, text), options)


def test_a_column_that_is_not_there(root: Path, options: SourceOptions) -> None:
    path = table(root, "path,label\nimg/a.png,cat\n")
    with pytest.raises(SourceError, match=r"no column 'breed'(.|\n)*path, label"):
        load(path, SourceOptions(label_column="breed", cache=options.cache))


def test_what_is_no_table(root: Path, options: SourceOptions) -> None:
    (root / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="not UTF-8"):
        load(root / "bytes.csv", options)
    (root / "bytes.parquet").write_bytes(b"PAR0")
    with pytest.raises(SourceError, match="not a readable Parquet file"):
        load(root / "bytes.parquet", options)
    with pytest.raises(SourceError, match="does not exist"):
        load(root / "none.csv", options)

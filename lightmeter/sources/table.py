"""A CSV or Parquet table with a path and a label column as a Dataset."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Bad, Dataset, Provenance
from lightmeter.sources import scan
from lightmeter.sources.classes import ordered, tidy
from lightmeter.sources.options import SourceOptions

SUFFIXES = (".csv", ".tsv", ".parquet")

USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    "label": ("label", "class", "target", "category", "class_name", "labels"),
    "group": ("group", "group_id"),
    "split": ("split",),
}
"""Column names that are found without being named, in any case, the first that is there."""

_PARTS = {
    "": "",
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """The pictures that a table lists; paths are relative to the table, or absolute.

    Ids are the paths as the table writes them. Class names are taken as they are: spaces, slashes and any script.

    Raises:
        SourceError: no such table, no such column, an empty cell, a file listed twice with different labels, or
            missing files (listed), unless `options.on_bad` is "quarantine".
    """
    assert location is not None
    columns = _read(location)
    paths = _column(location, columns, "path", options.path_column, required=True)
    labels = _column(location, columns, "label", options.label_column, required=True)
    groups = _column(location, columns, "group", options.group_column) or [""] * len(paths)
    parts = [_part(location, cell) for cell in _column(location, columns, "split", options.split_column)]
    parts = parts or [""] * len(paths)
    rows: dict[str, tuple[str, str, str]] = {}
    repeated = 0
    for number, row in enumerate(zip(paths, labels, groups, parts, strict=True), start=2):
        path, values = row[0], (tidy(row[1]), row[2], row[3])
        if not path or not values[0]:
            raise SourceError(
                f"{location}, row {number}: the {'label' if path else 'path'} is empty.", "both in each row"
            )
        if rows.setdefault(path, values) != values:
            raise SourceError(
                f"{location}, row {number}: {path!r} is listed before with {rows[path][0]!r}, and here {values[0]!r}.",
                "each file once, or always with the same label, group and split",
            )
        repeated += 1
    repeated -= len(rows)
    entries, missing = _status(location.parent, list(rows))
    bad = scan.report(missing, options)
    hashes, unreadable = scan.hashes(location.parent, entries, options)
    ids = tuple(entry.path for entry in entries if entry.path in hashes)
    classes = ordered(rows[id][0] for id in ids)
    label = {name: position for position, name in enumerate(classes)}
    notes = (f"{repeated} rows repeat an earlier row and count once",) if repeated else ()
    return Dataset(
        name=options.name or location.stem,
        classes=classes,
        ids=ids,
        hashes=tuple(hashes[id] for id in ids),
        labels=np.array([label[rows[id][0]] for id in ids], np.int64),
        splits=tuple(rows[id][2] for id in ids),
        groups=tuple(rows[id][1] for id in ids),
        read=scan.FileReader(str(location.parent.resolve())),
        provenance=Provenance("table", "own", notes),
        bad=bad + unreadable,
    )


def _status(root: Path, paths: list[str]) -> tuple[list[scan.Entry], list[Bad]]:
    entries, missing = [], []
    for path in paths:
        try:
            status = os.stat(os.path.join(root, path))
        except (OSError, ValueError):
            missing.append(Bad(path, "no such file"))
            continue
        if os.path.isdir(os.path.join(root, path)):
            missing.append(Bad(path, "is a folder"))
        else:
            entries.append(scan.Entry(path, status.st_size, status.st_mtime_ns))
    return entries, missing


def _part(location: Path, cell: str) -> str:
    part = _PARTS.get(cell.strip().lower())
    if part is None:
        raise SourceError(f"{location} has the split {cell!r}.", "train, val or test in each row, or nothing")
    return part


def _column(
    location: Path, columns: dict[str, list[str]], role: str, wanted: str, *, required: bool = False
) -> list[str]:
    """The cells of the column for a role; [] where it is not asked for and not there."""
    if wanted:
        if wanted not in columns:
            raise SourceError(
                f"{location} has no column {wanted!r}.", "one of " + ", ".join(columns), f"correct --{role}-column."
            )
        return columns[wanted]
    lower = {name.strip().lower(): name for name in reversed(columns)}
    for name in USUAL[role]:
        if name in lower:
            return columns[lower[name]]
    if required:
        raise SourceError(
            f"{location} has no column that is usual for the {role}: it has {', '.join(columns)}.",
            "one of " + ", ".join(USUAL[role]),
            f"name it with --{role}-column.",
        )
    return []


def _read(location: Path) -> dict[str, list[str]]:
    """The columns of a table by name, each cell as text."""
    if not location.is_file():
        raise SourceError(f"The table {location} does not exist.", "a .csv or .parquet file")
    columns = _read_parquet(location) if location.suffix.lower() == ".parquet" else _read_csv(location)
    if not columns or not any(columns.values()):
        raise SourceError(f"The table {location} holds no rows.", "a header and a row per picture")
    return columns


def _read_parquet(location: Path) -> dict[str, list[str]]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(
            f"{location} needs pyarrow to be read.", fix='pip install "lightmeter[train]", or save it as CSV.'
        ) from error
    try:
        table = parquet.read_table(location)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{location} is not a readable Parquet file: {error}.") from error
    return {
        name: ["" if cell is None else str(cell) for cell in table.column(position).to_pylist()]
        for position, name in enumerate(table.column_names)
        if not pa.types.is_nested(table.schema.field(position).type)
    }


def _read_csv(location: Path) -> dict[str, list[str]]:
    try:
        text = location.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{location} is not UTF-8 text.", fix="save it with UTF-8 encoding.") from error
    except OSError as error:
        raise SourceError(f"{location} could not be read: {error.strerror}.") from error
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)  # what a header is cut by; the comma wins a tie
    try:
        rows: list[Sequence[str]] = [
            row for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if row
        ]
    except csv.Error as error:
        raise SourceError(f"{location} is not a readable CSV file: {error}.") from error
    if not rows:
        return {}
    header = [name.strip() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise SourceError(
                f"{location}, row {number} has {len(row)} cells, but the header {len(header)}.",
                "the same number in each row",
                "put cells that hold a comma in double quotes.",
            )
    return {name: [row[position] for row in rows[1:]] for position, name in enumerate(header)}

"""Class names: their order, and how a mapping file renames them without touching the user's folder."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset

_HEADERS = {("old", "new"), ("from", "to"), ("class", "name"), ("folder", "name")}


def tidy(name: str) -> str:
    """A class name in Unicode's composed form, so that one folder name copied by two systems is one class."""
    return unicodedata.normalize("NFC", name).strip()


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names in their fixed order: as numbers where all of them are, else by code point."""
    distinct = set(names)
    if all(name.isascii() and name.isdigit() for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def rename(dataset: Dataset, path: Path) -> Dataset:
    """The Dataset with its classes renamed by a mapping file.

    Classes that the file does not name keep their names. Two classes given one name become one class, at the
    place of the first, and the provenance says so.

    Raises:
        SourceError: no such file, not a mapping, or a name in it that is no class of the Dataset.
    """
    mapping = _read(path)
    unknown = [old for old in mapping if old not in dataset.classes]
    if unknown:
        near = get_close_matches(unknown[0], dataset.classes, n=1)
        raise SourceError(
            f"{path} renames {_listing(unknown)}, which {'is' if len(unknown) == 1 else 'are'} not in the data.",
            f"old names among {_listing(dataset.classes)}",
            f"did you mean {near[0]!r}?" if near else "correct or remove these entries.",
        )
    renamed = [mapping.get(name, name) for name in dataset.classes]
    classes = tuple(dict.fromkeys(renamed))
    place = np.array([classes.index(name) for name in renamed], np.int64)  # old label -> new label
    notes = [*dataset.provenance.notes, f"classes renamed by {path.name}"]
    for name in classes:
        merged = [old for old, new in zip(dataset.classes, renamed, strict=True) if new == name]
        if len(merged) > 1:
            notes.append(f"{_listing(merged)} were merged into {name!r}")
    provenance = replace(dataset.provenance, notes=tuple(notes))
    return replace(dataset, classes=classes, labels=place[dataset.labels], provenance=provenance)


def _read(path: Path) -> dict[str, str]:
    expected = 'a JSON object {"old name": "new name"} or a CSV file of two columns'
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path} could not be read: {error.strerror}.", expected) from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text.", expected, "save it with UTF-8 encoding.") from error
    if path.suffix.lower() == ".json":
        try:
            pairs = json.loads(text, object_pairs_hook=lambda found: found)
        except json.JSONDecodeError as error:
            raise SourceError(f"{path} is not JSON ({error}).", expected) from error
        good = isinstance(pairs, list) and all(isinstance(pair, tuple) for pair in pairs)
    else:
        pairs = [tuple(row) for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
        if pairs and tuple(cell.strip().lower() for cell in pairs[0]) in _HEADERS:
            del pairs[0]
        good = True
    if (
        not good
        or not pairs
        or not all(len(p) == 2 and all(isinstance(x, str) and x.strip() for x in p) for p in pairs)
    ):
        raise SourceError(f"{path} is not a mapping of class names.", expected)
    mapping: dict[str, str] = {}
    for old, new in pairs:
        if mapping.setdefault(tidy(old), tidy(new)) != tidy(new):
            raise SourceError(f"{path} gives {old!r} two new names.", "one new name for each class")
    return mapping


def _listing(names: Iterable[str], most: int = 10) -> str:
    names = list(names)
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"

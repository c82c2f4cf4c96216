"""A folder of class folders, or the same below train/, val/ and test/, as a Dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.sources import scan
from lightmeter.sources.classes import ordered, tidy
from lightmeter.sources.options import SourceOptions

PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder names (in any case) that are parts of a data set rather than classes."""

EXPECTED = "a folder with one sub-folder of pictures per class, or such folders below train/, val/ and test/"


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """The pictures of a folder; a picture's class is the folder below the root (or below its part) that holds it.

    Files may lie deeper below a class folder. Hidden files are ignored; files that are no images by their suffix,
    and pictures outside any class folder, are left out and counted in the notes.

    Raises:
        SourceError: no such folder, no pictures in it, no class folders, or names that contradict each other.
    """
    assert location is not None
    return from_listing(location, existing(location), options)


def existing(location: Path) -> scan.Listing:
    """What lies below a folder that must be there and hold images."""
    if not location.is_dir():
        what = "is a file" if location.exists() else "does not exist"
        raise SourceError(f"The folder {location} {what}.", EXPECTED)
    listing = scan.walk(location)
    if not listing.images:
        raise SourceError(
            f"The folder {location} holds no pictures: it has {_contents(listing)}.",
            EXPECTED,
            "check the path; pictures are known by their suffix (.jpg, .png, .webp, .gif, .tif, .bmp, ...).",
        )
    return listing


def from_listing(
    root: Path,
    listing: scan.Listing,
    options: SourceOptions,
    *,
    words: Mapping[str, str] | None = None,
    provenance: Provenance | None = None,
) -> Dataset:
    """The Dataset of a listed folder, its classes shown as `words` says (folder name -> class name) where given."""
    parts, notes = _parts(root, listing)
    rows: list[tuple[scan.Entry, str, str]] = []  # entry, class, part
    loose: Counter[str] = Counter()
    for entry in listing.images:
        first, _, rest = entry.path.partition("/")
        part = ""
        if parts and rest:
            if first not in parts:
                continue
            part = parts[first]
            name, _, rest = rest.partition("/")
        else:
            name = first
        if rest:
            rows.append((entry, tidy(name), part))
        else:
            loose[f"{first}/" if part else "the folder itself"] += 1
    for place, count in sorted(loose.items()):
        notes.append(f"{_number(count, 'picture')} directly in {place} without a class folder, left out")
    if listing.others:
        others = ", ".join(f"{count} {suffix}" for suffix, count in sorted(listing.others.items()))
        notes.append(f"{_number(sum(listing.others.values()), 'file')} without an image suffix left out ({others})")
    if empty := _without_pictures(listing, parts):
        notes.append(f"no pictures in {', '.join(empty[:10])}{' and others' if len(empty) > 10 else ''}")
    if not rows:
        raise SourceError(f"The folder {root} holds pictures but no class folders: {'; '.join(notes)}.", EXPECTED)
    names = ordered(name for _, name, _ in rows)
    if len(names) == 1:
        _refuse_nested(root, listing, names[0], any(part for _, _, part in rows))
    hashes, bad = scan.hashes(root, [entry for entry, _, _ in rows], options)
    rows = [row for row in rows if row[0].path in hashes]
    label = {name: position for position, name in enumerate(names)}
    found = provenance or Provenance("folder", "own")
    return Dataset(
        name=options.name or root.resolve().name,
        classes=tuple(words[name] for name in names) if words else names,
        ids=tuple(entry.path for entry, _, _ in rows),
        hashes=tuple(hashes[entry.path] for entry, _, _ in rows),
        labels=np.array([label[name] for _, name, _ in rows], np.int64),
        splits=tuple(part for _, _, part in rows),
        groups=("",) * len(rows),
        read=scan.FileReader(str(root.resolve())),
        provenance=Provenance(found.source, found.official, (*found.notes, *notes)),
        bad=bad,
    )


def _parts(root: Path, listing: scan.Listing) -> tuple[dict[str, str], list[str]]:
    """The top folders that are parts (empty where they are classes), and what was left out beside them."""
    inside = Counter(entry.path.split("/", 1)[0] for entry in listing.images if "/" in entry.path)
    deeper = {entry.path.split("/", 1)[0] for entry in listing.images if entry.path.count("/") > 1}
    parts = {name: PARTS[name.lower()] for name in inside if name.lower() in PARTS}
    strangers = sorted(set(inside) - set(parts))
    if not parts or (strangers and not _is_split(parts, deeper)):
        return {}, []  # "train" beside "bus" is a class of vehicles
    if strangers:
        raise SourceError(
            f"In {root}, {', '.join(strangers[:5])} with pictures lie beside {', '.join(sorted(parts))}.",
            EXPECTED,
            "move what belongs to no part out of this folder.",
        )
    doubled = [part for part, count in Counter(parts.values()).items() if count > 1]
    if doubled:
        names = ", ".join(sorted(name for name, part in parts.items() if part in doubled))
        raise SourceError(f"{root} has several folders for one part: {names}.", "one of them", "rename or merge them.")
    if "train" not in parts.values():
        raise SourceError(f"{root} has {', '.join(sorted(parts))} but no train folder with pictures.", EXPECTED)
    if not deeper & set(parts):
        raise SourceError(f"{', '.join(sorted(parts))} in {root} hold pictures but no class folders.", EXPECTED)
    return parts, []


def _is_split(parts: dict[str, str], deeper: set[str]) -> bool:
    return "train" in parts.values() and len(parts) > 1 and deeper >= set(parts)


def _refuse_nested(root: Path, listing: scan.Listing, name: str, in_parts: bool) -> None:
    below = sorted(path for path in listing.folders if not in_parts and path.count("/") == 1)
    if len(below) > 1:
        one, two = (path.split("/")[1] for path in below[:2])
        raise SourceError(
            f"{root} holds the single class folder {name!r}.",
            EXPECTED,
            f"if {one!r} and {two!r} are the classes, name {root / name} instead.",
        )


def _without_pictures(listing: scan.Listing, parts: Mapping[str, str]) -> list[str]:
    """Folders where a class would be, that hold none: what is left out must not go unsaid."""
    holding = {entry.path.rpartition("/")[0] for entry in listing.images}
    full = {"/".join(path.split("/")[:depth]) for path in holding for depth in (1, 2)}
    at_class = [path for path in listing.folders if path.count("/") == int(path.split("/", 1)[0] in parts)]
    return [path for path in at_class if path not in full]


def _contents(listing: scan.Listing) -> str:
    if not listing.others:
        return "no files"
    counts = sorted(listing.others.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{_number(count, 'file')} ({suffix})" for suffix, count in counts[:8])


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"

"""What the user calls a source, to the kind, the place and the name of the data."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from lightmeter.errors import SourceError
from lightmeter.nouns.places import data_folder
from lightmeter.sources import cifar, idx, imagenette, table, tiny_imagenet
from lightmeter.sources.named import NAMED


class Layout(NamedTuple):
    """How a layout is known by sight: the folder that has it, at or below a path, and what in there belongs to it."""

    find: Callable[[Path], Path | None]
    published: tuple[str, ...]


LAYOUTS = {
    "idx": Layout(idx.find, idx.PUBLISHED),
    "cifar": Layout(cifar.find, cifar.PUBLISHED),
    "tiny_imagenet": Layout(tiny_imagenet.find, tiny_imagenet.PUBLISHED),
    "imagenette": Layout(imagenette.find, imagenette.PUBLISHED),
}
"""Layouts that a folder is tried for, before it is taken as a folder of class folders."""

EXPECTED = "a folder of class folders, a .csv or .parquet table, or one of " + ", ".join(["digits", *NAMED])


@dataclass(frozen=True)
class Opening:
    """What a source turned out to be.

    Attributes:
        kind: entry of `SOURCES`, or "package.module:function".
        location: where the data lie; None where they need no place.
        name: of the named set, or "".
    """

    kind: str
    location: Path | None
    name: str = ""


def resolve(source: str) -> Opening:
    """Find out what `source` means: a named set, then a path, then a function.

    Raises:
        SourceError: none of them, with what may have been meant; or a named set that is not there yet.
    """
    if source == "digits":
        return Opening("digits", None)
    if source in NAMED:
        location = data_folder() / source
        if not location.is_dir():
            raise SourceError(
                f"The data set {source} is not in {data_folder()}.",
                f"a folder {location}",
                f"run `lightmeter data fetch {source}`, or set LIGHTMETER_DATA to the folder that holds it.",
            )
        return Opening(NAMED[source].source, location, source)
    path = Path(source).expanduser()
    if path.is_dir():
        return Opening(layout_of(path) or "folder", path)
    if path.is_file():
        if path.suffix.lower() in table.SUFFIXES:
            return Opening("table", path)
        raise SourceError(
            f"{source} is a file, but no table.", EXPECTED, "name its folder, or a .csv or .parquet file."
        )
    if re.fullmatch(r"[\w.]+:\w+", source):
        return Opening(source, None)
    raise SourceError(f"There is no source {source!r}.", EXPECTED, _meant(source, path))


def layout_of(path: Path) -> str:
    """The layout of a data set that a folder has, or "" where it is none that we know by sight."""
    return next((kind for kind, layout in LAYOUTS.items() if layout.find(path)), "")


def _meant(source: str, path: Path) -> str:
    near = get_close_matches(source.lower(), ["digits", *NAMED], n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    parent = path.parent
    if parent.is_dir():
        beside = get_close_matches(path.name, [child.name for child in parent.iterdir()], n=1)
        return f"did you mean {str(parent / beside[0])!r}?" if beside else "check the path."
    return f"check the path: the folder {parent} does not exist either."

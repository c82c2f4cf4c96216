"""Where a Dataset comes from. A new source is one file and one line in `SOURCES`."""

from __future__ import annotations

from pathlib import Path

from lightmeter.errors import RecipeError, SourceError
from lightmeter.nouns import parts
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.sources import cifar, classes, digits, folder, idx, imagenette, named, opening, table, tiny_imagenet
from lightmeter.sources.options import Load, OnBad, SourceOptions

__all__ = ["SOURCES", "Load", "OnBad", "SourceOptions", "open_source"]

SOURCES: dict[str, Load] = {
    "digits": digits.load,
    "folder": folder.load,
    "table": table.load,
    "idx": idx.load,
    "cifar": cifar.load,
    "tiny_imagenet": tiny_imagenet.load,
    "imagenette": imagenette.load,
}


def open_source(
    source: str,
    *,
    class_names: Path | None = None,
    path_column: str = "",
    label_column: str = "",
    group_column: str = "",
    split_column: str = "",
    on_bad: OnBad = "error",
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> Dataset:
    """The Dataset behind what a user calls a source.

    Args:
        source: a name ("digits", "fashion-mnist", ...), a folder, a .csv or .parquet table, or
            "package.module:function", a function of the type `Load` that is given no location.
        class_names: file that renames classes: JSON {"old": "new"} or CSV of two columns.
        path_column, label_column, group_column, split_column: of a table; "" looks for a usual name.
        on_bad: "error", or "quarantine" to list files that are missing or unreadable in `Dataset.bad`.
        cache: folder for the index of known files; by default `cache_folder()`.

    Raises:
        SourceError: no such source, nothing in it, or contradictions in it.
    """
    found = opening.resolve(str(source))
    options = SourceOptions(
        name=found.name,
        path_column=path_column,
        label_column=label_column,
        group_column=group_column,
        split_column=split_column,
        on_bad=on_bad,
        cache=cache or cache_folder(),
        progress=progress,
    )
    try:
        load = parts.resolve(SOURCES, found.kind, kind="source")
    except RecipeError as error:
        raise SourceError(error.received, opening.EXPECTED) from error
    dataset = load(found.location, options)
    if not isinstance(dataset, Dataset):
        raise SourceError(f"The source {source!r} returned a {type(dataset).__name__}.", "a lightmeter Dataset")
    if found.name and found.location is not None:
        dataset = named.judged(dataset, found.location, found.name)
    return classes.rename(dataset, class_names) if class_names else dataset

"""data fetch, data check, data split: pictures before any training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.options import (
    AllowLeak,
    ClassNames,
    GroupColumn,
    Json,
    LabelColumn,
    OnBad,
    PathColumn,
    Seed,
    Source,
    bad_policy,
)
from lightmeter.cli.progress import open_progress

if TYPE_CHECKING:
    from lightmeter.nouns.dataset import Dataset
    from lightmeter.nouns.pack import Pack
    from lightmeter.nouns.progress import Progress

LOOKED_AT = 64
"""Side of the canvases by which pictures are compared before any recipe is chosen."""

group = typer.Typer(no_args_is_help=True, help="Fetch, check and split pictures.")


def add_to(app: typer.Typer) -> None:
    """Put the group on the application."""
    app.add_typer(group, name="data")


@group.command()
def fetch(
    name: Annotated[str, typer.Argument(help="fashion-mnist, cifar10, tiny-imagenet or imagenette.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="Copy from this folder or archive instead of connecting."),
    ] = None,
    json: Json = False,
) -> None:
    """Put a named data set into the data folder.

    It comes from its owner's address, or with --from from a copy that is here
    already. Besides weights fetch, no command loads anything from elsewhere.
    """
    from lightmeter.verbs.fetch import fetch as run

    folder = run(name, source_path=source, progress=open_progress())
    if json:
        show.emit({"name": name, "folder": str(folder)})
    else:
        show.line(f"{name} is ready: lightmeter train {name}", "bold")


@group.command()
def check(
    source: Source,
    class_names: ClassNames = None,
    path_column: PathColumn = "",
    label_column: LabelColumn = "",
    group_column: GroupColumn = "",
    json: Json = False,
) -> None:
    """Look at pictures before training on them.

    Decodes every one; reports classes, duplicates, label conflicts, leaks,
    and files that cannot be used.
    """
    from lightmeter.verbs.check import check as run

    dataset, canvases = _look(
        source, class_names, (path_column, label_column, group_column), "quarantine", open_progress()
    )
    found = run(dataset, canvases)
    if json:
        show.emit(found.document())
        return
    show.line(f"{found.name}: {found.n:,} pictures of {len(found.classes)} classes", "bold")
    show.table(("class", "pictures"), zip(found.classes, found.counts, strict=True))
    for bad in found.bad:
        show.line(f"cannot be used: {bad.id}: {bad.reason}", "red")
    for warning in found.warnings:
        show.line(f"! {warning}", "yellow")
    for note in found.notes:
        show.line(note, "dim")
    if not found.warnings:
        show.line("Nothing to complain about.", "green")


@group.command()
def split(
    source: Source,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the split is written, as JSON.")] = Path(
        "split.json"
    ),
    seed: Seed = 0,
    on_bad: OnBad = "error",
    allow_leak: AllowLeak = False,
    class_names: ClassNames = None,
    path_column: PathColumn = "",
    label_column: LabelColumn = "",
    group_column: GroupColumn = "",
    json: Json = False,
) -> None:
    """Draw train, val and test, and write them as ids.

    Pictures that are the same, and items of one group, stay together.
    """
    from lightmeter.verbs.split import split as run

    dataset, canvases = _look(source, class_names, (path_column, label_column, group_column), on_bad, open_progress())
    drawn = run(dataset.without(canvases.bad), canvases.pixel_hashes, seed=seed, allow_leak=allow_leak)
    drawn.save(out)
    counts = {"train": len(drawn.train), "val": len(drawn.val), "test": len(drawn.test)}
    if json:
        show.emit({"split": str(out), **counts, "origin": drawn.origin, "leaks": len(drawn.leaks)})
        return
    show.table(("part", "pictures", "origin"), [(part, n, drawn.origin.get(part, "")) for part, n in counts.items()])
    show.line(f"Written to {out}")


def _look(
    source: str, class_names: Path | None, columns: tuple[str, str, str], on_bad: str, progress: Progress
) -> tuple[Dataset, Pack]:
    """Open a source and decode every picture of it."""
    from lightmeter.nouns.places import cache_folder
    from lightmeter.nouns.preprocess import Preprocess
    from lightmeter.sources import open_source
    from lightmeter.verbs.pack import pack

    policy = bad_policy(on_bad)
    dataset = open_source(
        source,
        class_names=class_names,
        path_column=columns[0],
        label_column=columns[1],
        group_column=columns[2],
        on_bad=policy,
        progress=progress,
    )
    canvases = pack(
        dataset, Preprocess(size=LOOKED_AT, channels=3), cache=cache_folder(), on_bad=policy, progress=progress
    )
    return dataset, canvases

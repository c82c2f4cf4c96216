"""verify, inspect, doctor: whether things are what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.options import Json, settings
from lightmeter.errors import UsageError

GATE = 1
"""Exit code of a check that did not hold."""

_CLASSES, _CHANNELS = 10, 3
_WORDS = {"memory_gib": "memory, GiB", "free_gib": "free there, GiB", "gpu": "NVIDIA GPU"}
_YES_NO = {"True": "yes", "False": "no", "None": "unknown"}


def add_to(app: typer.Typer) -> None:
    """Put the commands on the application."""
    for command in (verify, inspect, doctor):
        app.command()(command)


def verify(
    path: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="What to verify.", show_default=False)],
    json: Json = False,
) -> None:
    """Check a bundle's files and let it take its exam again."""
    from lightmeter.verbs.verify import verify as run

    passed = run(path)
    if json:
        show.emit({"path": str(path), "exam": passed.document()})
        return
    show.line(f"{path} is as it was written, and it passes its exam.", "bold green")
    show.line(f"{passed.n} pictures, largest difference {passed.max_abs_diff:.2g}")


def inspect(
    what: Annotated[
        str,
        typer.Argument(metavar="ANY", help="A run, a bundle or a pack; or the name of a model.", show_default=False),
    ],
    classes: Annotated[int, typer.Option(metavar="K", help="Of a model: classes to tell apart.")] = _CLASSES,
    size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Of a model: side of its pictures.", show_default="32, or its smallest"),
    ] = None,
    channels: Annotated[
        int, typer.Option(metavar="1|3", help="Of a model: channels of its pictures, grey or RGB.")
    ] = _CHANNELS,
    freeze: Annotated[
        list[str] | None,
        typer.Option(metavar="LAYER|BLOCK|N|all", help="Of a model: what is not trained; -N is all but the last N."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Of a model: its width, or an option.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what a folder is, and show what it holds; or list the layers of a model.

    A model is one of ours, timm:NAME, or your own package.module:function. For
    each of its layers: the block that --freeze can name, the shape of what it
    hands on, how many values it holds, and whether they are trained.
    """
    from lightmeter.verbs.inspect import inspect as run
    from lightmeter.verbs.inspect import is_place, lines

    if not is_place(what):
        _model(what, classes, size, channels, freeze or [], settings(set_ or []), json)
        return
    if (classes, size, channels, freeze, set_) != (_CLASSES, None, _CHANNELS, None, None):
        raise UsageError(f"{what} is a folder, and --classes, --size, --channels, --freeze and --set are of a model.")
    document = run(Path(what))
    if json:
        show.emit(document)
        return
    for text in lines(document):
        show.line(text)


def _model(
    name: str,
    classes: int,
    size: int | None,
    channels: int,
    freeze: list[str],
    options: dict[str, str],
    json: bool,
) -> None:
    from lightmeter.verbs.inspect_model import inspect_model, rows

    document = inspect_model(
        name, classes=classes, size=size, channels=channels, freeze=tuple(freeze), settings=options
    )
    if json:
        show.emit(document)
        return
    side, colours = document["size"], {1: "grey", 3: "RGB"}[channels]
    show.line(f"{name}: {side} x {side} pixels, {colours}, {classes:,} classes", "bold")
    show.table(("#", "block", "layer", "type", "output", "parameters", "trained"), rows(document))
    show.pairs(
        (title, f"{document[key]:,}")
        for title, key in (("parameters", "total"), ("trained", "trainable"), ("not trained", "non_trainable"))
    )


def doctor(json: Json = False) -> None:
    """Look at this machine and installation.

    Versions, processor, memory, disk, data sets, and what is missing, with
    the way out.
    """
    from lightmeter.verbs.doctor import doctor as run

    found = run()
    if json:
        show.emit(found.document())
    else:
        for title, rows in found.sections.items():
            show.line(title, "bold")
            show.pairs((_WORDS.get(name, name), _YES_NO.get(str(value), value)) for name, value in rows.items())
        for note in found.notes:
            show.line(f"  {note}", "dim")
        for problem in found.problems:
            show.line(f"! {problem}", "yellow")
        show.line("OK" if found.ok else f"{len(found.problems)} to look at", "bold green" if found.ok else "bold red")
    if not found.ok:
        raise typer.Exit(GATE)

"""verify, inspect, doctor: whether things are what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.options import Json

GATE = 1
"""Exit code of a check that did not hold."""


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
    path: Annotated[Path, typer.Argument(metavar="ANY", help="A run, a bundle or a pack.", show_default=False)],
    json: Json = False,
) -> None:
    """Say what a folder is, and show what it holds."""
    from lightmeter.verbs.inspect import inspect as run
    from lightmeter.verbs.inspect import lines

    document = run(path)
    if json:
        show.emit(document)
        return
    for text in lines(document):
        show.line(text)


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
            show.pairs(rows.items())
        for note in found.notes:
            show.line(f"  {note}", "dim")
        for problem in found.problems:
            show.line(f"! {problem}", "yellow")
        show.line("OK" if found.ok else f"{len(found.problems)} to look at", "bold green" if found.ok else "bold red")
    if not found.ok:
        raise typer.Exit(GATE)

"""weights list, weights fetch, weights import: trained weights to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.options import Json
from lightmeter.cli.progress import open_progress

group = typer.Typer(no_args_is_help=True, help="List, fetch and import trained weights.")


def add_to(app: typer.Typer) -> None:
    """Put the group on the application."""
    app.add_typer(group, name="weights")


@group.command("list")
def list_(json: Json = False) -> None:
    """List the published weights, and which of them are here.

    With --json also their addresses, checksums, pixels and origins.
    """
    from lightmeter.verbs.published import PUBLISHED
    from lightmeter.verbs.start import SUFFIX, weights_folder

    folder = weights_folder()
    here = {file.stem for file in folder.glob(f"*{SUFFIX}")} if folder.is_dir() else set()
    if json:
        rows = [{"name": name, "here": name in here, **entry.document()} for name, entry in PUBLISHED.items()]
        show.emit({"folder": str(folder), "weights": rows, "others": sorted(here - set(PUBLISHED))})
        return
    show.table(
        ("name", "here", "model", "size", "has seen"),
        [
            (name, "yes" if name in here else "", entry.model.name, entry.size, ", ".join(entry.seen))
            for name, entry in PUBLISHED.items()
        ],
    )
    for licence in dict.fromkeys(entry.licence for entry in PUBLISHED.values()):
        under = [name for name, entry in PUBLISHED.items() if entry.licence == licence]
        show.line(f"Licence of {', '.join(under)}: {licence}.")
    for name in sorted(here - set(PUBLISHED)):
        show.line(f"also here: {name}")


@group.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name that `lightmeter weights list` shows.", show_default=False)],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Read this copy of the owner's file instead of connecting."),
    ] = None,
    json: Json = False,
) -> None:
    """Put published weights into the data folder.

    They come from their owner's address, or with --from from a copy that is
    here already; the checksum must be the published one either way.
    """
    from lightmeter.verbs.weights import fetch as run

    path = run(name, source_path=source, progress=open_progress())
    if json:
        show.emit({"name": name, "path": str(path)})
    else:
        show.line(f"{name} is ready: lightmeter train SOURCE --start {name}", "bold")


@group.command("import")
def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .pth, .pt, .h5 or .safetensors file.", show_default=False)
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Its architecture; recognised by its tensors when left out.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write.", show_default="in the data folder, under the same name"),
    ] = None,
    seen: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Pictures it has seen, such as imagenet-1k/train.")
    ] = None,
    json: Json = False,
) -> None:
    """Read trained weights of others into a .safetensors file.

    PyTorch state dicts as torchvision and timm name them, and Keras' files,
    with or without their head. No code in a file is ever run.
    """
    from lightmeter.verbs.weights import import_weights

    done = import_weights(file, model=model, out=out, seen=tuple(seen or ()), progress=open_progress())
    if json:
        show.emit(done.document())
        return
    assert done.start.model is not None, "an import always knows its architecture"
    show.line(f"{done.start.path}", "bold")
    show.line(f"{done.start.model.name}, {done.tensors} tensors: lightmeter train SOURCE --start {done.start.path}")

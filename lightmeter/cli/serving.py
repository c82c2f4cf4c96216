"""predict and serve: what a bundle says of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.options import BundlePath, Json
from lightmeter.cli.progress import open_progress
from lightmeter.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Put the commands on the application."""
    app.command()(predict)
    app.command()(explain)
    app.command()(serve)


def predict(
    bundle: BundlePath,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Pictures, or folders of them.", show_default=False)
    ],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the predictions to this file as well.")
    ] = None,
    json: Json = False,
) -> None:
    """Name what pictures show.

    Probabilities are calibrated; where the model should not be trusted, the
    note says why.
    """
    from lightmeter.nouns.bundle import Bundle
    from lightmeter.nouns.files import write_atomic
    from lightmeter.nouns.prediction import to_csv
    from lightmeter.verbs.predict import predict as run
    from lightmeter.verbs.verify import bundle_in

    found = run(Bundle.open(bundle_in(bundle)), files, progress=open_progress())
    if csv_file is not None:
        write_atomic(csv_file, to_csv(found))
    if json:
        show.emit({"predictions": [prediction.document() for prediction in found]})
        return
    show.table(
        ("file", "label", "probability", "then", "note"),
        [
            (
                prediction.file,
                prediction.label or "-",
                "-" if prediction.probability is None else show.percent(prediction.probability, 1),
                ", ".join(f"{label} {show.percent(share, 1)}" for label, share in prediction.top[1:3]),
                prediction.reason,
            )
            for prediction in found
        ],
    )


def explain(
    bundle: BundlePath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture.", show_default=False)],
    label: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Class to explain.", show_default="the likeliest")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Where to draw it.", show_default="FILE with -explained.png")
    ] = None,
    json: Json = False,
) -> None:
    """Show which parts of a picture an answer rests on.

    Draws a heat map over the picture as the model sees it: bright is evidence
    for the class.
    """
    import io

    from lightmeter.nouns.bundle import Bundle
    from lightmeter.nouns.files import write_atomic
    from lightmeter.verbs.explain import explain as run
    from lightmeter.verbs.explain import overlay
    from lightmeter.verbs.verify import bundle_in

    found, canvas = run(Bundle.open(bundle_in(bundle)), file, label=label)
    stream = io.BytesIO()
    overlay(canvas, found.heat).save(stream, "PNG")
    target = out or file.with_name(f"{file.stem}-explained.png")
    write_atomic(target, stream.getvalue())
    if json:
        show.emit({"file": str(file), "label": found.label, "method": found.method, "picture": str(target)})
        return
    show.line(f"{target}", "bold")
    show.line(f"evidence for {found.label}, by {found.method}")


def serve(
    bundles: Annotated[
        list[str],
        typer.Argument(
            metavar="BUNDLE...",
            help="Bundles or runs: PATH or NAME=PATH; the first is the default.",
            show_default=False,
        ),
    ],
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen on.")] = 8000,
    share: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SHARE", help="Share of the requests that name no model; together 1. Repeatable."),
    ] = None,
    shadow: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SHARE", help="Share that this one answers as well, unseen. Repeatable."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who may ask: lines of NAME KEY.", show_default="everybody"),
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="N", min=0.0, help="Requests a second that each key may send; 0: any.")
    ] = 0.0,
    log: Annotated[bool, typer.Option("--log/--no-log", help="A line of JSON for each request.")] = True,
) -> None:
    """Serve bundles over HTTP.

    Each takes its exam before it is asked; the page at /docs describes the
    addresses. A bundle that is replaced on the disk is exchanged without a gap.
    """
    from lightmeter.verbs.serve import serve as run

    run(
        *bundles,
        host=host,
        port=port,
        shares=_shares(share or [], "--share"),
        shadows=_shares(shadow or [], "--shadow"),
        key_file=api_key_file,
        per_second=rate,
        log=log,
        progress=open_progress(),
    )


def _shares(words: list[str], option: str) -> dict[str, float]:
    found = {}
    for word in words:
        name, _, number = word.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"{option} {word} cannot be read.", "NAME=SHARE, such as cats=0.1")
    return found

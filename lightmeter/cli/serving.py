"""predict and serve: what a bundle says of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.options import BundlePath, Json
from lightmeter.cli.progress import open_progress


def add_to(app: typer.Typer) -> None:
    """Put the commands on the application."""
    app.command()(predict)
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


def serve(
    bundle: BundlePath,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve a bundle over HTTP.

    It takes its exam before it listens; the page at /docs describes it.
    """
    from lightmeter.verbs.serve import serve as run

    run(bundle, host=host, port=port, progress=open_progress())

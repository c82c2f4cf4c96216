"""predict and serve: what a bundle says of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lightmeter.cli import show
from lightmeter.cli.checks import GATE
from lightmeter.cli.options import BundlePath, Json
from lightmeter.cli.progress import open_progress
from lightmeter.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Put the commands on the application."""
    app.command()(predict)
    app.command()(explain)
    app.command()(serve)
    app.command("bench-serve")(bench_serve)


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
    note says why. Pictures that cannot be read are listed, and end it with 1.
    """
    from lightmeter.nouns.bundle import Bundle
    from lightmeter.nouns.files import write_atomic
    from lightmeter.nouns.prediction import to_csv
    from lightmeter.verbs.predict import predict as run
    from lightmeter.verbs.verify import bundle_in

    found = run(Bundle.open(bundle_in(bundle)), files, progress=open_progress())
    if csv_file is not None:
        write_atomic(csv_file, to_csv(found))
    unread = sum(prediction.failed for prediction in found)
    if json:
        show.emit({"predictions": [prediction.document() for prediction in found]})
    else:
        show.table(
            ("file", "label", "probability", "then", "note"),
            [
                (
                    prediction.file,
                    prediction.label or "-",
                    "-" if prediction.probability is None else show.probability(prediction.probability),
                    ", ".join(f"{label} {show.probability(share)}" for label, share in prediction.top[1:3]),
                    prediction.reason,
                )
                for prediction in found
            ],
        )
        if unread:
            show.line(f"{unread} of {len(found)} could not be read.", "yellow")
    if unread:
        raise typer.Exit(GATE)


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
    runner: Annotated[
        str,
        typer.Option(metavar="NAME", help="onnxruntime, openvino; auto: the faster one here of those that are right."),
    ] = "auto",
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, max=1024, help="Pictures in one run of the graph, at most.")
    ] = 4,
    wait: Annotated[
        float,
        typer.Option(metavar="MS", min=0.0, max=1000.0, help="That a batch waits to be filled; 0: adapts to the load."),
    ] = 0.0,
    log: Annotated[bool, typer.Option("--log/--no-log", help="A line of JSON for each request.")] = True,
) -> None:
    """Serve bundles over HTTP.

    Each takes its exam before it is asked; the page at /docs describes the
    addresses. A bundle that is replaced on the disk is exchanged without a gap.
    """
    from dataclasses import replace

    from lightmeter.serving.limits import Limits
    from lightmeter.verbs.serve import serve as run

    run(
        *bundles,
        host=host,
        port=port,
        shares=_shares(share or [], "--share"),
        shadows=_shares(shadow or [], "--shadow"),
        key_file=api_key_file,
        per_second=rate,
        by=runner,
        limits=replace(Limits(), batch=batch, batch_seconds=wait / 1000),
        log=log,
        progress=open_progress(),
    )


def bench_serve(
    url: Annotated[str, typer.Argument(metavar="URL", help="A server of yours: http://HOST:PORT.", show_default=False)],
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is sent.", show_default="a made JPEG of about 10 KB")
    ] = None,
    rate: Annotated[
        float, typer.Option(metavar="N", min=0.0, help="Requests a second; 0 doubles them until the server sheds.")
    ] = 0.0,
    seconds: Annotated[float, typer.Option(metavar="N", min=0.1, help="At each rate.")] = 10.0,
    api_key: Annotated[str, typer.Option(metavar="KEY", envvar="LIGHTMETER_API_KEY", help="Of the server.")] = "",
    json: Json = False,
) -> None:
    """Load a server and show how long its answers take.

    Requests arrive at random times and wait for nobody, so that a server that
    falls behind shows it. Load no server that is not yours.
    """
    import asyncio

    from lightmeter.serving.load import Level, climb, level, sample, shedding_point, some_answered

    try:
        body = sample() if picture is None else picture.read_bytes()
    except OSError as error:
        raise UsageError(f"{picture} cannot be read ({error.strerror}).", "a picture to send") from error
    progress = open_progress()

    def tell(found: Level) -> None:
        progress.say(
            f"{found.rate:g} a second: {found.answered:.1f} answered, p50 {found.p50:.0f} ms, p99 {found.p99:.0f} ms, "
            f"{found.shed:.1%} refused, {found.failed:.1%} failed"
        )

    if rate:
        levels = [some_answered(url, asyncio.run(level(url, body, rate, seconds, key=api_key)))]
    else:
        levels = climb(url, body, seconds=seconds, key=api_key, tell=tell)
    point = shedding_point(levels)
    if json:
        show.emit({"levels": [one.document() for one in levels], "shedding_point": point})
        return
    show.table(
        ("a second", "answered", "p50", "p95", "p99", "longest", "refused", "failed"),
        [
            (
                f"{one.rate:g}",
                f"{one.answered:.1f}",
                *(f"{value:.0f} ms" for value in (one.p50, one.p95, one.p99, one.longest)),
                f"{one.shed:.1%}",
                f"{one.failed:.1%}",
            )
            for one in levels
        ],
    )
    show.line("It refused none." if point is None else f"It refuses from {point:g} requests a second on.")


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

"""train, evaluate, compare, report: from pictures to a model whose worth is known."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lightmeter.cli import show
from lightmeter.cli.options import (
    AllowLeak,
    ClassNames,
    GroupColumn,
    Json,
    LabelColumn,
    OnBad,
    OptionalSource,
    PathColumn,
    RunPaths,
    Seed,
    Source,
    bad_policy,
    seconds,
    settings,
)
from lightmeter.cli.progress import open_progress
from lightmeter.errors import UsageError

if TYPE_CHECKING:
    from lightmeter.verbs.train import TrainResult

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT."""


def add_to(app: typer.Typer) -> None:
    """Put the commands on the application."""
    for command in (train, evaluate, compare, report):
        app.command()(command)


def train(
    source: Source,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Time for everything, such as 90s or 1h30m.", show_default="10m"),
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(metavar="N", help="Passes over the pictures, instead of a budget or within one.")
    ] = None,
    recipe: Annotated[str, typer.Option(metavar="NAME", help="Name of a recipe; auto lets the meter choose.")] = "auto",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS|RUN|BUNDLE", help="Start weights: a .safetensors file, a run, a bundle or a name."
        ),
    ] = None,
    freeze: Annotated[
        list[str] | None, typer.Option(metavar="BLOCK|N|all", help="Block not to train; all trains the head alone.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the recipe.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Run folder.", show_default="a new one below runs/")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    on_bad: OnBad = "error",
    allow_leak: AllowLeak = False,
    class_names: ClassNames = None,
    path_column: PathColumn = "",
    label_column: LabelColumn = "",
    group_column: GroupColumn = "",
    json: Json = False,
) -> None:
    """Make a classifier: the whole job, inside the budget.

    Checks the data, splits them, measures this machine, trains, calibrates,
    exports a bundle that passes its exam, opens the test split once, reports.
    """
    from lightmeter.verbs.clock import process_start
    from lightmeter.verbs.train import default_folder
    from lightmeter.verbs.train import train as run

    if out is None and not resume:
        out = default_folder(source)
    try:
        result = run(
            source,
            budget=None if budget is None else seconds(budget),
            epochs=epochs,
            recipe=recipe,
            start=start,
            freeze=tuple(freeze or ()),
            settings=settings(set_ or []),
            seed=seed,
            out=out,
            resume=resume,
            on_bad=bad_policy(on_bad),
            allow_leak=allow_leak,
            class_names=class_names,
            path_column=path_column,
            label_column=label_column,
            group_column=group_column,
            began=process_start(),
            progress=open_progress(),
        )
    except KeyboardInterrupt:
        again = shlex.join(["lightmeter", "train", source, "--out", str(out), "--resume"])
        begun = out is not None and (out / "request.json").exists()
        message = (
            f"Interrupted. Nothing is lost; go on with: {again}" if begun else "Interrupted before anything was done."
        )
        typer.echo(message, err=True)
        if json:
            show.emit({"error": {"type": "Interrupted", "message": message, "run": str(out)}})
        raise typer.Exit(INTERRUPTED) from None
    if json:
        show.emit(result.document())
    else:
        _show_training(source, result)


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="What to score.", show_default=False)],
    source: OptionalSource = None,
    split: Annotated[str, typer.Option(metavar="test|val", help="Part to score: test or val.")] = "test",
    on_bad: OnBad = "error",
    class_names: ClassNames = None,
    path_column: PathColumn = "",
    label_column: LabelColumn = "",
    json: Json = False,
) -> None:
    """Score a model, with intervals and per class.

    Without a source, a run's own locked test split is scored, and that
    opening is written into the run's ledger.
    """
    from lightmeter.verbs.again import evaluate as run

    evaluation, document = run(
        model,
        source,
        split=split,
        on_bad=bad_policy(on_bad),
        class_names=class_names,
        path_column=path_column,
        label_column=label_column,
        progress=open_progress(),
    )
    if json:
        show.emit(document)
        return
    show.line(f"{document['split']}: {show.score(document)}", "bold")
    show.line(evaluation.classification_report())
    if "provenance" in document:
        show.past(document["provenance"])
    if document.get("opened", 0) > 1:
        show.line(
            f"! This test split has been opened {document['opened']} times: choosing by it makes it lie.", "yellow"
        )


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Runs; each is held against the first.")],
    split: Annotated[
        str, typer.Option(metavar="test|val", help="Part whose scores are compared: test or val.")
    ] = "test",
    json: Json = False,
) -> None:
    """Say whether runs differ, picture by picture.

    Gives the difference with its interval and p, and where it does not show,
    how many more pictures would show it.
    """
    from lightmeter.verbs.again import scored
    from lightmeter.verbs.compare import compare as run

    if len(runs) < 2:
        raise UsageError("compare was given one run.", "two or more runs that scored the same pictures")
    first = scored(runs[0], split)
    found = [run(first, scored(other, split)) for other in runs[1:]]
    if json:
        rows = zip(runs[1:], found, strict=True)
        show.emit(
            {"first": str(runs[0]), "comparisons": [{"second": str(path), **row.document()} for path, row in rows]}
        )
        return
    for path, comparison in zip(runs[1:], found, strict=True):
        show.line(comparison.sentence(str(runs[0]), str(path)))


def report(
    runs: RunPaths,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where several runs are compared on one page.")] = Path(
        "comparison.html"
    ),
    json: Json = False,
) -> None:
    """Write the report of runs again; of several, a page that compares them too.

    The pictures in a report need the source where it was; the rest does not.
    """
    from lightmeter.verbs.again import report as run
    from lightmeter.verbs.report import report_several

    progress = open_progress()
    written = [run(path, progress=progress) for path in runs]
    if len(runs) > 1:
        written.append(report_several(runs, out))
    if json:
        show.emit({"reports": [str(path) for path in written]})
        return
    for path in written:
        show.line(str(path))


def _show_training(source: str, result: TrainResult) -> None:
    from lightmeter.nouns.evaluation import Evaluation
    from lightmeter.verbs.reporting.words import THIN, verdict

    values: dict[str, Any] = result.document()
    sentence, between = verdict(Evaluation.load(result.run / "evaluation" / "test.npz"), values.get("provenance"))
    show.line("")
    show.line(f"{sentence} ({between}).".replace(THIN, " "), "bold green")
    show.line(f"{source}: {show.score(values['test'])}")
    if "provenance" in values:
        show.past(values["provenance"])
    took = show.duration(values["seconds"])
    budget = f" of {show.duration(values['budget'])}" if values.get("budget") else ""
    show.pairs(
        (
            ("took", f"{took}{budget}, {values['epochs']:g} epochs"),
            ("report", result.report),
            ("bundle", result.bundle),
            ("run", result.run),
        )
    )
    show.line("")
    show.line(f"Next:  lightmeter predict {result.bundle} PICTURE...")
    show.line(f"       lightmeter serve {result.bundle}")

"""study, ablate, sweep: many trainings that answer one question, on one page."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lightmeter.cli import show
from lightmeter.cli.options import Json, OnBad, Source, bad_policy, factors, numbers, seconds, words
from lightmeter.cli.progress import open_progress
from lightmeter.errors import UsageError

if TYPE_CHECKING:
    from lightmeter.nouns.progress import Progress
    from lightmeter.studies.base import Scale, Study
    from lightmeter.studies.engine import StudyResult
    from lightmeter.studies.general import Asked
    from lightmeter.studies.pictures import Materials

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT."""

Seeds = Annotated[str, typer.Option(metavar="N,N", help="Seeds that each arm is trained with.")]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", help="The study's folder; what it holds is gone on with.", show_default="below runs/"
    ),
]
Start = Annotated[
    str,
    typer.Option(metavar="WEIGHTS|RUN|BUNDLE", help="Start weights: a .safetensors file, a run, a bundle or a name."),
]
RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME", help="Recipe of the base.", show_default="as train")
]
Budget = Annotated[
    str | None, typer.Option(metavar="TIME", help="Training time for each arm and seed.", show_default="1m")
]
Epochs = Annotated[
    float | None, typer.Option(metavar="N", help="Passes over the pictures for each arm, instead of a budget.")
]


def add_to(app: typer.Typer) -> None:
    """Put the commands on the application."""
    for command in (study, ablate, sweep):
        app.command()(command)


def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A study; without a name they are listed.")] = "",
    scale: Annotated[
        str,
        typer.Option(metavar="smoke|cpu|full", help="Under a minute; 30 minutes on two cores; the published size."),
    ] = "cpu",
    out: Out = None,
    seeds: Annotated[
        str, typer.Option(metavar="N,N", help="Seeds, instead of the study's own.", show_default="the study's own")
    ] = "",
    arms: Annotated[
        str, typer.Option(metavar="NAME,NAME", help="Only these arms, and those they start from.", show_default="all")
    ] = "",
    source: Annotated[
        str, typer.Option(metavar="SOURCE", help="Other pictures, for studies that take any.", show_default="its own")
    ] = "",
    describe: Annotated[
        bool, typer.Option("--describe", help="Show the arms at the published size and train nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Repeat a published experiment: published, faithful, ours.

    Trains every arm for every seed, and ends in one page with intervals,
    verdicts and costs. Run again, it goes on where it was stopped.
    """
    from lightmeter.studies import STUDIES

    if not name:
        _list(json)
        return
    if name not in STUDIES:
        close = get_close_matches(name, STUDIES, n=1)
        fix = f"did you mean {close[0]!r}?" if close else "`lightmeter study` says what each is about."
        raise UsageError(f"There is no study {name!r}.", "one of " + ", ".join(STUDIES), fix)
    found = STUDIES[name]()
    if describe:
        _describe(found, json)
        return
    if scale not in ("smoke", "cpu", "full"):
        raise UsageError(f"--scale {scale!r} is not known.", "smoke, cpu or full")
    taken = cast("Scale", scale)
    progress = open_progress()
    if source and not found.any_source:
        able = ", ".join(one for one, make in STUDIES.items() if make().any_source)
        raise UsageError(f"The study {name} is about its own pictures.", f"--source only with {able}")

    def run() -> StudyResult:
        from lightmeter.studies.engine import run_study, with_source
        from lightmeter.studies.general import canvas_of
        from lightmeter.studies.pictures import Materials

        materials = Materials(progress=progress)
        changed = with_source(found, source, *canvas_of(source, materials)) if source else found
        return run_study(
            changed,
            taken,
            out=folder,
            seeds=numbers(seeds) if seeds else (),
            only=words(arms),
            materials=materials,
            progress=progress,
        )

    folder = out or Path("runs") / "-".join(["study", name, scale, *([Path(source).stem] if source else [])])
    _go(run, folder, json, progress)


def ablate(
    source: Source,
    factor: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE,VALUE", help="A field of the recipe, such as optimizer.lr, and its values."),
    ] = None,
    grid: Annotated[bool, typer.Option("--grid", help="Every combination of the factors' values.")] = False,
    recipe: RecipeName = "",
    start: Start = "",
    budget: Budget = None,
    epochs: Epochs = None,
    seeds: Seeds = "0",
    on_bad: OnBad = "error",
    out: Out = None,
    json: Json = False,
) -> None:
    """Change a recipe field by field, and say what each change did.

    Every arm gets the same pictures, budget and seeds, and is held against the
    base picture by picture.
    """

    def make(asked: Asked, materials: Materials) -> Study:
        from lightmeter.studies.general import ablate as made

        return made(asked, factors(factor or []), materials, grid=grid)

    folder = out or _folder("ablate", source, [source, recipe, start, *(factor or []), str(grid)], budget, epochs)
    _general(make, source, recipe, start, budget, epochs, seeds, on_bad, folder, json)


def sweep(
    source: Source,
    freeze: Annotated[
        str,
        typer.Option(
            metavar="VALUE,VALUE", help="0 trains everything, N freezes the first N layers, all but the head: all."
        ),
    ] = "0,all",
    recipe: RecipeName = "",
    start: Start = "",
    budget: Budget = None,
    epochs: Epochs = None,
    seeds: Seeds = "0",
    on_bad: OnBad = "error",
    out: Out = None,
    json: Json = False,
) -> None:
    """Say how much of a trained network should learn on.

    One arm for each way of freezing, the curve of accuracy against cost, and
    the point where more stops paying.
    """

    def make(asked: Asked, materials: Materials) -> Study:
        from lightmeter.studies.general import sweep as made

        return made(asked, words(freeze), materials)

    folder = out or _folder("sweep", source, [source, recipe, start, freeze], budget, epochs)
    _general(make, source, recipe, start, budget, epochs, seeds, on_bad, folder, json)


def _general(
    make: Callable[[Asked, Materials], Study],
    source: str,
    recipe: str,
    start: str,
    budget: str | None,
    epochs: float | None,
    seeds: str,
    on_bad: str,
    folder: Path,
    json: bool,
) -> None:
    if budget is not None and epochs is not None:
        raise UsageError("Both --budget and --epochs were given.", "one of them")
    if epochs is not None and not epochs > 0:
        raise UsageError(f"--epochs {epochs:g} is no training.", "a number above 0")
    given = seconds(budget) if budget else 0.0
    drawn, policy, progress = numbers(seeds), bad_policy(on_bad), open_progress()

    def run() -> StudyResult:
        from lightmeter.studies.engine import run_study
        from lightmeter.studies.general import Asked
        from lightmeter.studies.pictures import Materials

        materials = Materials(on_bad=policy, progress=progress)
        made = make(Asked(source, recipe, start, given, epochs or 0.0, drawn), materials)
        return run_study(made, "full", out=folder, seeds=drawn, materials=materials, progress=progress)

    _go(run, folder, json, progress)


def _go(run: Callable[[], StudyResult], folder: Path, json: bool, progress: Progress) -> None:
    """Run a study and show what came of it."""
    if (folder / "study.json").exists():
        progress.say(f"Going on with the study in {folder}; --out names another folder.")
    try:
        result = run()
    except KeyboardInterrupt:
        again = shlex.join(["lightmeter", *(word for word in sys.argv[1:] if word != "--json")])
        message = f"Interrupted. Nothing is lost; the same command goes on: {again}"
        typer.echo(message, err=True)
        if json:
            show.emit({"error": {"type": "Interrupted", "message": message, "study": str(folder)}})
        raise typer.Exit(INTERRUPTED) from None
    if json:
        show.emit(result.summary())
    else:
        _show(result)


def _show(result: StudyResult) -> None:
    from lightmeter.studies.page import context

    said = context(result.document)
    show.line("")
    show.line(" ".join(said["headline"]).replace("\u202f", " "), "bold green")
    if said["left_out"]:
        show.line(f"Left out: {said['left_out']}", "yellow")
    keys = ("name", "role", "published", "accuracy", "span", "gap", "trainable", "seconds")
    rows = [[arm.get(key, "") for key in keys] for arm in said["arms"]]
    header = ("arm", "role", "published", "test accuracy", "95 % interval", "gap, points", "trained", "training")
    show.table(header, [[cell.replace("\u202f", " ") for cell in row] for row in rows])
    for entry in said["verdicts"]:
        show.line(entry["sentence"])
    if said["knee"]:
        show.line(said["knee"]["sentence"])
    for table in said["rows"]:
        show.line(f"{table['name']}: {table['sentence']}")
    for who, why in said["trouble"]:
        show.line(f"! {who}: {why}", "yellow")
    show.pairs((("page", result.page), ("markdown", result.markdown)))


def _list(json: bool) -> None:
    from lightmeter.studies import STUDIES

    found = [(name, make()) for name, make in STUDIES.items()]
    if json:
        show.emit({"studies": [{"name": name, "title": one.title, "question": one.question} for name, one in found]})
        return
    show.table(("study", "about"), [(name, one.title) for name, one in found])
    show.line("Next:  lightmeter study NAME --describe")


def _describe(found: Study, json: bool) -> None:
    from lightmeter.studies.describe import describe

    document: dict[str, Any] = describe(found)
    if json:
        show.emit(document)
        return
    show.line(document["title"], "bold")
    show.line(document["question"])
    show.pairs(document["published"].items())
    names = ("name", "role", "total", "trainable", "non_trainable")
    rows = [["?" if arm[name] is None else arm[name] for name in names] for arm in document["arms"]]
    show.table(("arm", "role", "parameters", "trained", "not trained"), rows)


def _folder(verb: str, source: str, asked: list[str], budget: str | None, epochs: float | None) -> Path:
    """A folder that the same command finds again, and another one does not."""
    text = "\x1f".join([*asked, str(budget), str(epochs)])
    return Path("runs") / f"{verb}-{Path(source).stem or 'pictures'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

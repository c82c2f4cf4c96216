"""export: a run's model in the forms that others can load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lightmeter.cli import show
from lightmeter.cli.options import Json, RunPath
from lightmeter.cli.progress import open_progress
from lightmeter.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Put the command on the application."""
    app.command()(export)


def export(
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Bundle to write.", show_default="model.bundle in the run")
    ] = None,
    examples: Annotated[
        int,
        typer.Option(
            min=0,
            max=10_000,
            metavar="N",
            help="Let N training pictures travel with it, small, for its server to show the nearest.",
        ),
    ] = 0,
    int8: Annotated[
        bool, typer.Option("--int8", help="In 8 bits, to model-int8.bundle; says how fast that is here.")
    ] = False,
    triton: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a model repository for Triton there.", show_default=False),
    ] = None,
    any_size: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an ONNX file that resizes for itself there.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run's bundle again from its best weights.

    It must pass its exam, or nothing is left behind. In 8 bits it is calibrated and scored anew, and refused where it
    loses more than half a point on validation, or than one picture where that is more. The file for any size takes
    whole pictures uint8[N, H, W, C], upright.
    """
    _check_together(out, examples, {"--int8": int8, "--triton": triton is not None, "--any-size": any_size is not None})
    if any_size is not None:
        from lightmeter.verbs.any_size import export_any_size

        found = export_any_size(run, any_size)
        said = (
            f"exam passed: {found.n} pictures, at most {found.grey_levels:.2f} grey levels off on average, largest "
            f"difference of logits {found.max_abs_diff:.2g}"
        )
        _tell(json, found.document(), f"{found.file}", said)
    elif triton is not None:
        from lightmeter.verbs.triton import export_triton

        written = export_triton(run, triton)
        _tell(json, {"model": str(written)}, f"{written}")
    elif int8:
        from lightmeter.verbs.quantise import export_int8

        made = export_int8(run, out, progress=open_progress())
        low, high = made.drop_interval
        said = (
            f"validation: {100 * made.drop:z.2f} points lost of {100 * made.plain.accuracy:.2f} (95 % interval "
            f"{100 * low:z.2f} to {100 * high:z.2f}; n = {made.val.n:,})"
        )
        speed = f"{made.speedup:.2f} times as fast as in float32 for one picture, on this machine"
        _tell(json, made.document(), f"{made.bundle}", said, f"test: {show.score(made.test.summary())}", speed)
    else:
        from lightmeter.verbs.again import export as write

        document = write(run, out, examples=examples, progress=open_progress())
        exam, travelling = document["exam"], document["examples"]
        lines = [f"exam passed: {exam['n']} pictures, largest difference {exam['max_abs_diff']:.2g}"]
        if travelling:
            lines.append(f"{travelling:,} training pictures travel with it: whoever has the bundle can see them.")
        _tell(json, document, f"{document['bundle']}", *lines)


def _tell(json: bool, document: dict[str, Any], written: str, *lines: str) -> None:
    """The document as JSON, or what was written and the lines about it."""
    if json:
        show.emit(document)
        return
    show.line(written, "bold")
    for line in lines:
        show.line(line)


def _check_together(out: Path | None, examples: int, forms: dict[str, bool]) -> None:
    """Raise UsageError for options of which one would be ignored."""
    asked = [name for name, given in forms.items() if given]
    if out is not None and asked != ["--int8"]:
        asked += ["--out"] * bool(asked)
    if examples:
        asked += ["--examples"] * bool(asked)
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} do not go together.", "one form at a time", "export once for each.")

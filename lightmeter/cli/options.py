"""Arguments and options that several commands share, and text from the command line to values."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from lightmeter.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:(?P<h>[\d.]+)h)?(?:(?P<m>[\d.]+)m(?:in)?)?(?:(?P<s>[\d.]+)s?)?")

Source = Annotated[
    str,
    typer.Argument(help="A folder of pictures, a .csv or .parquet table, or a named data set.", show_default=False),
]
OptionalSource = Annotated[
    str | None,
    typer.Argument(help="Other data to score; the run's own locked test split when left out.", show_default=False),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
RunPaths = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, or a run folder.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="End standard output with one line: the result as a JSON object.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything that is drawn.")]
OnBad = Annotated[
    str, typer.Option("--on-bad", metavar="error|quarantine", help="Refuse bad files, or list them and go on.")
]
AllowLeak = Annotated[
    bool, typer.Option("--allow-leak", help="Accept test pictures that stand in train too; the report lists them.")
]
ClassNames = Annotated[
    Path | None, typer.Option("--class-names", metavar="FILE", help="JSON or two-column CSV file that renames classes.")
]
PathColumn = Annotated[
    str, typer.Option("--path-column", metavar="COLUMN", help="Column of a table that holds the pictures' paths.")
]
LabelColumn = Annotated[
    str, typer.Option("--label-column", metavar="COLUMN", help="Column of a table that holds the labels.")
]
GroupColumn = Annotated[
    str,
    typer.Option(
        "--group-column", metavar="COLUMN", help="Column whose equal values may not straddle splits, such as a patient."
    ),
]


def seconds(text: str) -> float:
    """A length of time ("90s", "10m", "1h30m", "600") in seconds. Raises UsageError."""
    matched = _DURATION.fullmatch(text.strip().lower().replace(" ", ""))
    try:
        parts = {unit: float(value) for unit, value in matched.groupdict().items() if value} if matched else {}
    except ValueError:
        parts = {}
    total = math.fsum(_UNITS[unit] * value for unit, value in parts.items())
    if matched and parts and not total > 0:
        raise UsageError(f"{text!r} leaves no time.", "a length of time above 0, such as 90s, 10m or 1h30m")
    if not total > 0:
        raise UsageError(f"{text!r} is no length of time.", "something like 90s, 10m, 1h30m, or a number of seconds")
    return total


def settings(pairs: list[str]) -> dict[str, str]:
    """["optimizer.lr=0.1"] as {"optimizer.lr": "0.1"}. Raises UsageError."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name.strip() and equals):
            raise UsageError(f"--set {pair!r} names no field and value.", "--set FIELD=VALUE, as in optimizer.lr=0.1")
        found[name.strip()] = value.strip()
    return found


def factors(texts: list[str]) -> dict[str, tuple[str, ...]]:
    """["optimizer.lr=0.1,0.2"] as {"optimizer.lr": ("0.1", "0.2")}. Raises UsageError."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not (name.strip() and equals and values.strip()):
            raise UsageError(f"--factor {text!r} names no field and values.", "--factor FIELD=VALUE,VALUE")
        found[name.strip()] = (*found.get(name.strip(), ()), *words(values))
    return found


def words(text: str) -> tuple[str, ...]:
    """A list with commas, such as "a,b", as ("a", "b"); commas inside brackets stay."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return tuple(part.strip() for part in parts if part.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Seeds. Raises UsageError."""
    given = words(text)
    if not given or not all(word.isdigit() for word in given):
        raise UsageError(f"--seeds {text!r} are no seeds.", "numbers from 0 on, as in --seeds 0,1,2")
    found = tuple(map(int, given))
    if len(set(found)) < len(found):
        raise UsageError(
            f"--seeds {text!r} names a seed twice.", "each seed once: the same seed gives the same training"
        )
    return found


def bad_policy(text: str) -> Literal["error", "quarantine"]:
    """The value of --on-bad. Raises UsageError."""
    if text == "error":
        return "error"
    if text == "quarantine":
        return "quarantine"
    raise UsageError(f"--on-bad {text!r} is not known.", "error or quarantine")

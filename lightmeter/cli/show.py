"""What the commands print: results and the one JSON line on standard output, errors on standard error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lightmeter.errors import LightmeterError

_NUMBER = re.compile(r"[\d.,]+ ?%?|-|")


def emit(document: Any) -> None:
    """Print the one JSON line that ends standard output."""
    typer.echo(json.dumps(document, ensure_ascii=False, allow_nan=False, default=str))


def line(text: str, style: str = "") -> None:
    """Print one line on standard output, without wrapping it, so that a path can be copied."""
    Console().print(Text(text, style=style), soft_wrap=True)


def pairs(rows: Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    console = Console()
    for name, value in rows:
        console.print(Text.assemble((f"  {name:<{width}}  ", "dim"), str(value)), soft_wrap=True)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print a table; columns of numbers stand to the right."""
    rows = [[_cell(value) for value in row] for row in rows]
    drawn = Table(title=title or None, title_justify="left", header_style="bold", show_edge=False, pad_edge=False)
    for column, name in enumerate(header):
        number = all(_NUMBER.fullmatch(row[column]) for row in rows)
        drawn.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = 10_000  # a pipe has no width: rows stay whole
    console.print(drawn)


def score(summary: dict[str, Any]) -> str:
    """{"n", "accuracy", "low", "high"} as a sentence."""
    return (
        f"{percent(summary['accuracy'])} of {int(summary['n']):,} pictures right "
        f"(95 % interval {percent(summary['low'])} to {percent(summary['high'])})"
    )


def past(found: dict[str, Any]) -> None:
    """Print which pictures the model had seen, and its score on each kind."""
    from lightmeter.verbs.reporting import past as words
    from lightmeter.verbs.reporting.words import THIN

    line(words.sentence(found).replace(THIN, " "), "yellow" if words.noteworthy(found) else "")
    if words.noteworthy(found):
        for row in words.rows(found):
            text = f"{row['n']}: {row['accuracy']} right ({row['span']})"
            pairs([(row["kind"].ljust(12), text.replace(THIN, " "))])
        for number, why in words.reasons(found):
            line(f"    {number} {why}", "dim")


def percent(share: float, digits: int = 2) -> str:
    """A share of 1 as the report writes it, with an ordinary space."""
    from lightmeter.verbs.reporting import words

    return words.percent(share, digits).replace(words.THIN, " ")


def probability(share: float) -> str:
    """A share of 1 to a tenth of a percent; what is less than that from 0 or 100 says so: "< 0.1 %", "> 99.9 %"."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if 0.9995 <= share < 1 else percent(share, 1)


def duration(seconds: float) -> str:
    """Seconds as the report writes them, with ordinary spaces."""
    from lightmeter.verbs.reporting import words

    return words.duration(seconds).replace(words.THIN, " ")


def failure(error: LightmeterError, *, as_json: bool) -> int:
    """Show a mistake without a traceback; return the exit code."""
    text = Text.assemble(("Error: ", "bold red"), str(error.received))
    if error.expected:
        text.append("\nExpected: ", "bold").append(error.expected)
    if error.fix:
        text.append("\nTo fix it: ", "bold green").append(error.fix)
    Console(stderr=True).print(text, soft_wrap=True)
    if as_json:
        document = {"type": type(error).__name__, "message": str(error)}
        parts = {"received": error.received, "expected": error.expected, "fix": error.fix}
        emit({"error": document | {name: part for name, part in parts.items() if part}})
    return error.exit_code


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)

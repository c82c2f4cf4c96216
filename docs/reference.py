"""Write docs/cli.md from the commands themselves: `python docs/reference.py`, or with --check to compare only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from lightmeter.cli import app

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# Command line

<!-- Written by docs/reference.py; a test checks that it is up to date. -->

Every command takes `--help`. With `--json`, the last line on standard output is one JSON object; progress and messages
go to standard error in any case. `lightmeter --install-completion` teaches your shell the commands and options.

| exit code | means |
|---|---|
| 0 | done |
| 1 | a check that must hold did not, such as a bundle's exam, or a picture could not be read |
| 2 | a mistake that you can mend; the message says how |
| 70 | a bug of ours, with a traceback to report |
| 130 | interrupted; `train` can be resumed |

A mistake under `--json` is `{"error": {"type", "message", "received", "expected", "fix"}}`.

A budget is written `90s`, `10m`, `1h30m`, or as a number of seconds.

| variable | holds | by default |
|---|---|---|
| `LIGHTMETER_CACHE` | what can be made again: decoded pictures, indexes | `lightmeter` in the platform's cache folder |
| `LIGHTMETER_DATA` | the named data sets, one sub-folder each | `lightmeter/data` in the platform's cache folder |
"""


def commands(group: Any, path: str = "lightmeter") -> Iterator[tuple[str, Any]]:
    """("lightmeter data fetch", command) for every command, groups walked through."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def cell(text: str) -> str:
    """Text that may stand in a table."""
    return text.replace("|", "\\|")


def names(parameter: Any) -> str:
    """How a parameter is written: `BUNDLE`, `--budget TEXT`, `--json`."""
    if parameter.param_type_name == "argument":
        return (parameter.metavar or parameter.name).upper().strip("{}[]")
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.strip('_').upper()}"
    return ", ".join(parameter.opts) + value


def section(path: str, command: Any) -> str:
    """The Markdown of one command."""
    positional = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join([path, *(names(p) if p.required else f"[{names(p)}]" for p in positional), "[OPTIONS]"])
    help_text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").strip().split("\n\n"))
    rows = ["| | |", "|---|---|"]
    for parameter in command.params:
        if parameter.name == "help":
            continue
        shown = parameter.show_default if isinstance(parameter.show_default, str) else parameter.default
        given = "" if shown is None or shown is False or shown == "" or parameter.required else f" Default: {shown}."
        several = " May be given several times." if getattr(parameter, "multiple", False) else ""
        rows.append(f"| `{cell(names(parameter))}` | {cell((parameter.help or '').strip())}{several}{cell(given)} |")
    return f"## {path}\n\n```\n{usage}\n```\n\n{help_text}\n\n" + "\n".join(rows) + "\n"


def page() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    return "\n".join([HEAD, *(section(path, command) for path, command in sorted(commands(root)))])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page() else f"{PAGE} is out of date")
    PAGE.write_text(page(), encoding="utf-8")

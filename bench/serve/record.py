"""Keep what was found."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

from lightmeter.verbs.environment import environment

ROOT = Path(__file__).resolve().parents[2]


def keep(name: str, command: str, found: dict[str, Any]) -> Path:
    """Write `records/DATE-serve-NAME/found.json` with the machine and versions, and show it."""
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-serve-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    about = {key: value for key, value in environment(0).items() if key not in ("command", "seed")}
    text = json.dumps({"command": command, "environment": about, **found}, indent=1)
    (folder / "found.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return folder

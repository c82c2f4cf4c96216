"""What it is worth to use freed memory again while training: `python -m bench.kept`, which keeps a record."""

from __future__ import annotations

import datetime as dt
import json
import sys
from typing import Any

from bench.arrays import cifar_arrays
from bench.pairs import ROOT, interleave, ratio, side_command, sides
from lightmeter.verbs.environment import environment

_WIDTHS = ("0.25", "0.5", "1.0")
_SECONDS, _PAIRS = "8", 5


def main() -> None:
    """Both ways in turns, at each width."""
    found = {width: compared(width) for width in _WIDTHS}
    about = {key: value for key, value in environment(0).items() if key not in ("command", "seed")}
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-kept-memory"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"command": "python -m bench.kept", "widths": found, "environment": about}, indent=1)
    (folder / "found.json").write_text(text + "\n")
    sys.stdout.write(text + "\n")


def compared(width: str) -> dict[str, Any]:
    """Images per second and peak memory of a width, kept and asked for anew."""
    peaks: dict[str, float] = {}
    with (
        cifar_arrays(),
        sides(*((how, side_command("train_kept", width, _SECONDS, how)) for how in ("kept", "asked"))) as (kept, asked),
    ):

        def rate(how: str) -> float:
            told = {"kept": kept, "asked": asked}[how].go()
            peaks[how] = round(told["peak_mib"], 1)
            return float(told["value"])

        ours, theirs = interleave(lambda: rate("kept"), lambda: rate("asked"), _PAIRS)
    middle, low, high = ratio(ours, theirs)
    values = {"kept": [round(value, 1) for value in ours], "asked": [round(value, 1) for value in theirs]}
    return {"ratio": round(middle, 3), "low": round(low, 3), "high": round(high, 3), **values, "peak_mib": peaks}


if __name__ == "__main__":
    main()

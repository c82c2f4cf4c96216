"""Run a row of the table of benchmarks: `python -m bench P1 [--quick] [--json]`; every row: `python -m bench all`.

The last line of the output is `{"id", "ratio", "low", "high", "pairs", "ours", "theirs"}`. Without --quick the outcome
is kept as a record: the command, every value, the environment.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time

from bench.machine import folder_name
from bench.pairs import ROOT, Outcome
from bench.rows import ROWS, Row
from lightmeter.verbs.environment import environment


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", choices=[*ROWS, "all"], help="; ".join(f"{row.id}: {row.what}" for row in ROWS.values()))
    parser.add_argument("--quick", action="store_true", help="fewer pairs and smaller sizes, under 50 s, no record")
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    parser.add_argument("--note", default="", help="what a reader must know of the circumstances")
    asked = parser.parse_args()
    for row in ROWS.values() if asked.row == "all" else [ROWS[asked.row]]:
        began = time.monotonic()
        outcome = row.run(asked.quick)
        if not asked.json:
            sys.stdout.write(_words(row, outcome, time.monotonic() - began))
        if not asked.quick:
            _keep(row, outcome, asked.note)
        sys.stdout.write(json.dumps(outcome.document()) + "\n")
        sys.stdout.flush()


def _words(row: Row, outcome: Outcome, seconds: float) -> str:
    sign = ">=" if row.better == "above" else "<="
    return (
        f"{row.id}  {row.what}\n    against {row.against}\n"
        f"    ratio {outcome.ratio:.3g} (95 % interval {outcome.low:.3g} to {outcome.high:.3g}, {len(outcome.ours)} "
        f"pairs, {seconds:.0f} s); must {sign} {row.must:g}, aim {sign} {row.aim:g}: {row.verdict(outcome)}\n"
    )


def _keep(row: Row, outcome: Outcome, note: str) -> None:
    told = environment(0)
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-bench-{row.id}-{folder_name(told)}"
    folder.mkdir(parents=True, exist_ok=True)
    told.pop("command", None)  # it names this machine's folders
    record = {
        "command": f"python -m bench {row.id}",
        "what": row.what,
        "against": row.against,
        "must": row.must,
        "aim": row.aim,
        "better": row.better,
        "verdict": row.verdict(outcome),
        "note": note,
        **outcome.document(),
        "values": {"ours": outcome.ours, "theirs": outcome.theirs},
        "details": outcome.details,
        "environment": told,
    }
    (folder / "bench.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Run a study and keep the evidence: `python -m bench.study vgg-ablation [--scale cpu]`; every study, with none named.

The study runs as the public command in a process of its own, below `runs/`, so that an interrupted one goes on. The
record below `records/` holds its table and verdicts (study.json, study.md), the log, and each arm's epochs.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import subprocess
import sys
from pathlib import Path

from lightmeter.studies import STUDIES

ROOT = Path(__file__).resolve().parents[1]
_KEPT = ("epochs.jsonl",)  # of each arm's folder


def main() -> None:
    """Run the studies named, one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*STUDIES, []], help="all of them, where none is named")
    parser.add_argument("--scale", default="cpu", choices=["smoke", "cpu", "full"])
    parser.add_argument("--seeds", default="", help="instead of the study's own, separated by commas")
    parser.add_argument("--note", default="", help="what a reader must know of the circumstances")
    asked = parser.parse_args()
    for name in asked.names or STUDIES:
        _record(name, asked.scale, asked.seeds, asked.note)


def _record(name: str, scale: str, seeds: str, note: str) -> None:
    out = ROOT / "runs" / f"study-{name}-{scale}"
    folder = ROOT / "records" / f"{dt.date.today():%Y-%m-%d}-study-{name}-{scale}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lightmeter", "study", name, "--scale", scale, "--out", str(out), "--json"]
    command += ["--seeds", seeds] if seeds else []
    with open(folder / "log.txt", "a") as log:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=log, text=True, check=True, cwd=ROOT)
    log_path = folder / "log.txt"
    log_path.write_text(log_path.read_text().replace(str(ROOT), "."))
    for document in ("study.json", "study.md"):
        shutil.copy(out / document, folder / document)
    for path in sorted(out.glob("arms/*/seed-*")):
        for kept in _KEPT:
            if (path / kept).exists():
                shutil.copy(path / kept, folder / f"{path.parent.name}-{path.name}-{kept}")
    if note:
        (folder / "note.txt").write_text(note + "\n")
    sys.stdout.write((folder / "study.md").read_text())


if __name__ == "__main__":
    main()

"""records/ to docs/results.md, docs/performance.md and the tables of other pages: `python -m bench.table`.

A page of docs/experiments holds, for each study that it tells of, the lines `<!-- results: NAME -->` and
`<!-- end -->`; what stands between them is made here from the newest record. So are those of honest-numbers.md
and growth.md; ingredients.md has all its records.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bench import growth, ingredients
from bench.aside import aside
from bench.machine import kind
from bench.rows import ROWS
from bench.serve.table import serving
from lightmeter.nouns.evaluation import wilson

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
PERFORMANCE = ROOT / "docs" / "performance.md"
EXPERIMENTS = ROOT / "docs" / "experiments"
HONEST = ROOT / "docs" / "honest-numbers.md"
GROWTH = ROOT / "docs" / "growth.md"
INGREDIENTS = ROOT / "docs" / "ingredients.md"

_PLACE = re.compile(r"<!-- results: (\S+) -->\n.*?<!-- end -->\n", re.DOTALL)

_HEAD = """# Results

What `lightmeter train` reaches, each line from a record in `records/`: the command, logs, plans, epochs and versions,
where a note below says nothing else.
Accuracy is the mean over seeds on the official test split (`digits`: a drawn fifth; `imagenette` and `tiny-imagenet`:
their `val`), which each run opened once; the interval is Student's over seeds, or of one run that of its test pictures
(Wilson's). Clean is the mean accuracy on those test pictures that the start weights cannot have seen, with the Wilson
interval of so many pictures. Time is wall-clock, from process start to the last file written: start-up, decoding,
measuring, training, export, its exam, scoring and the report; **bold** where it went over the budget.

| data | command | seeds | test accuracy | 95 % interval | clean | each seed | longest | budget | peak memory | record |
|---|---|---|---|---|---|---|---|---|---|---|
"""

_READ = """
How to read them:

* The weights that `--start` names were trained on ImageNet, and 3,791 of Imagenette's 3,925 validation pictures carry
  the names of ImageNet *training* files: the start weights have seen them. Those lines say how well a known network was
  fitted, not how well the model would do on new pictures.
* The copy of CIFAR-10 that was measured holds 49,059 of the 50,000 training and 9,806 of the 10,000 test pictures.
"""


def page() -> str:
    """The page's text, from every record there is."""
    records = [(path.parent.name, json.loads(path.read_text())) for path in sorted(ROOT.glob("records/*/record.json"))]
    rows = "".join(_row(name, record) for name, record in records)
    notes = [f"`records/{name}`: {record['note']}" for name, record in records if record["note"]]
    machines = sorted({_machine(record["environment"]) for _, record in records})
    text = _HEAD + rows + _READ + "\n" + "".join(f"* {note}\n" for note in notes) + "\n"
    return text + "Every record names its machine. Measured on: " + "; ".join(machines) + ".\n"


_FAST = """# Performance

Lightmeter beside others, on the same cores, bytes and splits. Both sides run in turns, each in a process of its own.
That is ready before the first turn, but for whole commands (P3, P6, P7, P10), which start anew each time. The ratio is
that of the medians, and its interval comes from resampling the pairs. A mark counts as cleared only where the whole
interval clears it. Jobs of more than five minutes are run once on each side: then there is no such interval, and that
of the test pictures stands below.

```
python -m bench P1 --quick
```

measures a row in less than a minute; without `--quick` it takes longer and keeps a record. Environments of peers are
installed below the cache when they are first needed.

| | processor | measured | against | ratio | 95 % interval | pairs | ours | theirs | must | |
|---|---|---|---|---|---|---|---|---|---|---|
"""


def performance() -> str:
    """The page of benchmarks, the newest record of each on each processor."""
    newest: dict[tuple[int, str], tuple[Path, dict[str, Any]]] = {}
    for path in sorted(ROOT.glob("records/*-bench-*/bench.json")):
        record = json.loads(path.read_text())
        newest[int(record["id"][1:]), kind(record["environment"])] = path.parent, record
    rows, notes = "", ""
    missing = [row for id, row in ROWS.items() if all(int(id[1:]) != number for number, _ in newest)]
    for (_, processor), (folder, record) in sorted(newest.items()):
        id = record["id"]
        sign = "≥" if record["better"] == "above" else "≤"
        cells = (
            id,
            processor,
            record["what"],
            record["against"],
            f"**{record['ratio']:.3g}**",
            f"{record['low']:.3g} to {record['high']:.3g}" if record["low"] < record["high"] else "-",
            str(record["pairs"]),
            f"{record['ours']:.4g}",
            f"{record['theirs']:.4g}",
            f"{sign} {record['must']:g}",
            record["verdict"],
        )
        rows += f"| {' | '.join(cells)} |\n"
        note = f" {record['note']}" if record["note"] else ""
        where = f"`{folder.relative_to(ROOT)}`, {_machine(record['environment'])}"
        notes += f"* {id}, {processor}: {where}.{aside(record)}{note}\n"
    if not newest:
        return _FAST.partition("| |")[0] + "No benchmark has been recorded yet.\n"
    waiting = "".join(f"* {row.id}: {row.what}, against {row.against}\n" for row in missing)
    waiting = waiting and f"\nNot recorded yet:\n\n{waiting}"
    return f"{_FAST}{rows}\nRecords:\n\n{notes}{waiting}{serving(ROOT)}"


def filled(text: str) -> str:
    """The text of a page of docs/experiments with its results made anew."""
    return _PLACE.sub(lambda place: f"<!-- results: {place[1]} -->\n{_result(place[1])}<!-- end -->\n", text)


def _likeness() -> str:
    """How well near duplicates are found, from the newest record of bench.likeness."""
    newest = sorted(ROOT.glob("records/*-likeness/found.json"))[-1]
    record = json.loads(newest.read_text())
    sets = record["sets"]
    rows = [
        ("", [f"{name} {one['side']} px" for name, one in sets.items()]),
        ("training pictures searched", [f"{one['training']:,}" for one in sets.values()]),
        *(
            (f"found after: {edit}", [f"{100 * one['found'][edit]:.1f} %" for one in sets.values()])
            for edit in next(iter(sets.values()))["found"]
        ),
        (
            "held-out pictures called near duplicates",
            [f"{o['called_twins']:,} of {o['held_out']:,}" for o in sets.values()],
        ),
        ("seconds of one core for that", [f"{one['processor_seconds']:.1f}" for one in sets.values()]),
    ]
    lines = [f"| {what} | {' | '.join(cells)} |" for what, cells in rows]
    lines.insert(1, "|---" * (1 + len(sets)) + "|")
    said = f"Record: `{newest.parent.relative_to(ROOT)}`. Measured on: {_machine(record['environment'])}."
    return "\n".join(["", *lines, "", said, "", ""])


def _growth() -> str:
    """How cost grows, from the newest record of bench.growth, whose figure the page shows."""
    newest = sorted(ROOT.glob("records/*-growth/growth.json"))[-1]
    record = json.loads(newest.read_text())
    note = f" {record['note']}" if record["note"] else ""
    said = f"Record: `{newest.parent.relative_to(ROOT)}`. Measured on: {_machine(record['environment'])}.{note}"
    picture = "![Seconds of an epoch and memory against images, side and classes](pictures/growth.png)"
    return f"\n{picture}\n{growth.words(record)}\n{said}\n\n"


def _ingredients() -> str:
    """What each ingredient of the recipe is worth, record by record: each day's ways differ, and so may `fast`."""
    told = ""
    days = sorted(ROOT.glob("records/*-ingredients"), reverse=True)
    for path in [path for day in days for path in sorted(day.glob("*.json"))]:
        record = json.loads(path.read_text())
        day = path.parent.name.removesuffix("-ingredients")
        what = f"{day}: {record['source']}, {record['seconds']:g} s, width {record['width']:g}"
        counts = f"{record['learned']:,} pictures to learn from, {record['validated']:,} to validate on"
        where = f"`{path.relative_to(ROOT)}`. Measured on: {_machine(record['environment'])}"
        told += f"\n{what}: {counts}.\n\n{ingredients.words(record)}\nRecord: {where}.\n"
    return (told or "\nNothing has been recorded yet.\n") + "\n"


def _result(study: str) -> str:
    if study == "ingredients":
        return _ingredients()
    if study == "likeness":
        return _likeness()
    if study == "growth":
        return _growth()
    of = {scale: sorted(ROOT.glob(f"records/*-study-{study}-{scale}/study.md")) for scale in ("cpu", "full")}
    records = [*of["cpu"], *of["full"]]  # the newest of the published size, where there is one
    if not records:
        return f"\n### Results of `{study}`\n\nNo run of this study has been recorded yet.\n\n"
    folder = records[-1].parent
    body = records[-1].read_text().partition("\n")[2].replace("\n## ", "\n#### ").strip()
    note = folder / "note.txt"
    machine = _machine(json.loads((folder / "study.json").read_text())["environment"])
    said = f"Record: `{folder.relative_to(ROOT)}`. Measured on: {machine}."
    circumstances = f" {note.read_text().strip()}" if note.exists() else ""
    return f"\n### Results of `{study}`\n\n{body}\n\n{said}{circumstances}\n\n"


def _row(name: str, record: dict[str, Any]) -> str:
    interval = record["test_accuracy_interval_95"]
    test = record["results"][0]["test"]
    low, high = interval or (test["low"], test["high"])
    low_high = f"{100 * low:.2f} to {100 * min(1.0, high):.2f} %" + ("" if interval else ", one run")
    each = ", ".join(f"{100 * result['test']['accuracy']:.2f}" for result in record["results"])
    most, budget = record["wall_seconds_most"], record["results"][0]["budget"]
    peak = max(result["peak_memory_mib_at_most"] for result in record["results"]) / 1024
    cells = (
        f"{record['command'].split()[2]} (n = {record['images_tested']:,})",
        f"`{record['command']}`",
        str(record["n"]),
        f"**{100 * record['test_accuracy_mean']:.2f} %**",
        low_high,
        _clean(record),
        each,
        f"**{most:.1f} s**" if most > budget else f"{most:.0f} s",
        f"{budget:.0f} s",
        f"{peak:.1f} GiB",
        f"`{name}`",
    )
    return f"| {' | '.join(cells)} |\n"


def _clean(record: dict[str, Any]) -> str:
    found = [result["provenance"]["clean"] for result in record["results"] if "provenance" in result]
    scores = [one["accuracy"] for one in found if one["accuracy"] is not None]
    if not scores or "--start" not in record["command"]:
        return ""
    mean, n = sum(scores) / len(scores), found[0]["n"]
    low, high = wilson(mean * n, n)  # of so few pictures, which all seeds share: wider than what seeds differ by
    return f"{100 * mean:.2f} % ({100 * float(low):.2f} to {100 * float(high):.2f}; n = {n:,})"


def _machine(environment: dict[str, Any]) -> str:
    able = f" ({environment['features']})" if environment.get("features") else ""
    return (
        f"{environment['cpu']}{able}, {environment['cores']} cores, {environment['memory_gib']} GiB, "
        f"PyTorch {environment['torch']}, Python {environment['python']}"
    )


if __name__ == "__main__":
    PAGE.write_text(page())
    PERFORMANCE.write_text(performance())
    figure = sorted(ROOT.glob("records/*-growth/growth.png"))[-1]
    (ROOT / "docs" / "pictures" / "growth.png").write_bytes(figure.read_bytes())
    for path in [*sorted(EXPERIMENTS.glob("*.md")), HONEST, GROWTH, INGREDIENTS]:
        path.write_text(filled(path.read_text()))

"""The records of the server -> their part of the page of performance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_JOBS = ("overload", "soak", "fuzz", "schema", "against")

_HEAD = """
## The server

A MobileNetV2 at 160 px, JPEGs of about 10 KB unless stated, load from a process of its own that waits for no answer.
Capacity is the highest rate at which 99 of 100 requests are answered, and 99 of 100 answers come within 100 ms, in one
of two looks of 5 s.
"""


def serving(root: Path) -> str:
    """The section; "" where nothing has been recorded."""
    newest: dict[str, Path] = {}
    for job in _JOBS:
        found = sorted(root.glob(f"records/*-serve-{job}/found.json"))
        if found:
            newest[job] = found[-1]
    if not newest:
        return ""
    records = {job: json.loads(path.read_text()) for job, path in newest.items()}
    told = [_TELL[job](record) for job, record in records.items()]
    waiting = ", ".join(f"`{job}`" for job in _JOBS if job not in newest)
    left = f"\nNot recorded yet: {waiting}.\n" if waiting else ""
    places = ", ".join(f"`{path.parent.relative_to(root)}`" for path in newest.values())
    return f"{_HEAD}\n" + "\n".join(told) + f"\n{left}\nRecords: {places}.\n"


def _overload(found: dict[str, Any]) -> str:
    alone, over, memory = found["alone"], found["at twice"], found["memory_mib"]
    return (
        f"* **At twice its capacity** ({found['capacity']:.0f} a second) for a minute: {100 * over['shed']:.0f} % "
        f"refused, 99 of 100 refusals within {over['refusal_p99']:.0f} ms; of the others 99 of 100 answered within "
        f"{over['p99']:.0f} ms, without load {alone['p99']:.0f} ms; {_failed(over['failed'])}; memory "
        f"{memory['before']:.0f} MiB before, {memory['most']:.0f} at most. {_checks(found)}"
    )


def _soak(found: dict[str, Any]) -> str:
    memory, files = found["memory_mib"], found["open_files"]
    worst = max(one["p99"] for one in found["levels"])
    return (
        f"* **Ten minutes at 70 %** ({found['rate']:.0f} a second): 99 of 100 answers within {worst:.0f} ms in the "
        f"worst minute; memory {memory[0]:.0f} MiB after the first minute and {memory[-1]:.0f} after the last, open "
        f"files {files[0]} and {files[-1]}. {_checks(found)}"
    )


def _fuzz(found: dict[str, Any]) -> str:
    answers = ", ".join(f"{count:,} times {answer}" for answer, count in found["answers"].items())
    memory = found["memory_mib"]
    return (
        f"* **{found['pictures']:,} damaged pictures**: {answers}; memory {memory[0]:.0f} MiB after a quarter of them "
        f"and {memory[-1]:.0f} after all. {'All as it should be.' if found['right'] else 'Missed.'}"
    )


def _schema(found: dict[str, Any]) -> str:
    verdict = "All as it should be." if found["right"] else "Missed: see its log."
    return f"* **Requests made from its own OpenAPI document** (schemathesis): {found['cases']:,}. {verdict}"


def _against(found: dict[str, Any]) -> str:
    lines = ["", "| picture | beside | workers | theirs a second | ours a second | ratio | 95 % interval | must | |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for size, sides in found["capacity"].items():
        ours = _middle(sides["ours"]["values"])
        for name, side in sides.items():
            if name == "ours":
                continue
            theirs, low = f"{_middle(side['values']):.1f}", side["low"]
            ratio, interval = f"**{side['ratio']:.3g}**", f"{low:.3g} to {side['high']:.3g}"
            if _middle(side["values"]) < 1:  # less is not looked for, so that there is a bound and no ratio
                low = min(sides["ours"]["values"]) / max(1.0, *side["values"])
                theirs, ratio, interval = "under 1", f"**over {low:.3g}**", ""
            verdict = "cleared" if low >= found["marks"][name] else "missed"
            cells = (size, _NAMES.get(name, name), str(side["workers"]), theirs, f"{ours:.1f}", ratio, interval)
            lines.append(f"| {' | '.join(cells)} | ≥ {found['marks'][name]:g} | {verdict} |")
    return "\n".join(lines)


_NAMES = {
    "naive": "FastAPI with eager PyTorch and base64 in JSON",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "ray": "Ray Serve",
    "json": "ours, asked with a list of numbers in JSON",
}
_TELL = {"overload": _overload, "soak": _soak, "fuzz": _fuzz, "schema": _schema, "against": _against}


def _middle(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _failed(share: float) -> str:
    return "none failed" if not share else f"{100 * share:.2g} % failed"


def _checks(found: dict[str, Any]) -> str:
    missed = [name for name, held in found["checks"].items() if not held]
    return f"Missed: {', '.join(missed)}." if missed else "All as it should be."

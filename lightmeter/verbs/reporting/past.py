"""What a model had seen of its test pictures, in words: for the command line, the report and its findings."""

from __future__ import annotations

from typing import Any

from lightmeter.nouns.provenance import VERDICTS
from lightmeter.verbs.reporting.words import count, many, percent, span

MEANING = {
    "clean": "not seen before, as far as can be told",
    "contaminated": "seen before, or a twin of what was",
    "unknown": "cannot be told",
}
"""Each kind of picture in a few words."""


def noteworthy(past: dict[str, Any]) -> bool:
    """Whether any picture is not clean."""
    return any(past[kind]["n"] for kind in ("contaminated", "unknown"))


def sentence(past: dict[str, Any]) -> str:
    """How many pictures the model had seen, and how it does on those it had not."""
    n = {kind: int(past[kind]["n"]) for kind in VERDICTS}
    total = sum(n.values())
    if not noteworthy(past):
        return f"None of the {count(total)} pictures is known to it, by file, by pixels or by likeness."
    parts = []
    if n["contaminated"]:
        one, more = "was seen before, or has a twin that was", "were seen before, or have a twin that was"
        parts.append(many(n["contaminated"], one, more))
    if n["unknown"]:
        parts.append(f"of {count(n['unknown'])} it cannot be told")
    text = f"Of {count(total)} pictures, {'; '.join(parts)}."
    clean = past["clean"]
    if not n["clean"]:
        return f"{text} None is left to judge it by that is known to be new to it."
    right = f"{percent(clean['accuracy'])} are right ({span(clean['low'], clean['high'])})"
    return f"{text} Of the {count(n['clean'])} that are new to it {right}."


def rows(past: dict[str, Any]) -> list[dict[str, str]]:
    """For each kind of picture that there is: kind, meaning, number, accuracy, interval."""
    found = []
    for kind in VERDICTS:
        part = past[kind]
        if part["n"]:
            figures = {"accuracy": percent(part["accuracy"], 2), "span": span(part["low"], part["high"])}
            found.append({"kind": kind, "meaning": MEANING[kind], "n": count(part["n"]), **figures})
    return found


def reasons(past: dict[str, Any]) -> list[tuple[str, str]]:
    """(number of pictures, why), the most frequent first."""
    return [(count(number), why) for why, number in past["why"].items()]

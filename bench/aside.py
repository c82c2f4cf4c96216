"""What a row's record says beside its ratio, in a sentence for the page of benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any


def aside(record: dict[str, Any]) -> str:
    """A sentence with a blank before it, or nothing."""
    tell = _TELL.get(record["id"])
    told = "" if tell is None else tell(record["details"])
    return told and f" {told}"


def _backends(details: dict[str, Any]) -> str:
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in details["images/s of each"].items())
    return f"Images a second by each backend at a first look: {rates}."


_SIDES = {"ours": "ours", "theirs": "the textbook", "airbench": "airbench"}


def _airbench(details: dict[str, Any]) -> str:
    told = []
    took: dict[str, list[str]] = {}
    for name, found in details.items():
        if name.endswith(": wall-clock"):
            for side, walls in found.items():
                took.setdefault(side, []).extend(f"{wall:.0f}" for wall in walls)
        if name.endswith("against airbench"):
            seconds = name.split()[0]
            own, other = (
                ", ".join(f"{100 * error:.2f}" for error in details[f"{seconds} s"][side])
                for side in ("ours", "airbench")
            )
            told.append(
                f"at {float(seconds) / 60:g} min {own} % errors beside {other} %, "
                f"ratio {found['ratio']:.3g} ({found['low']:.3g} to {found['high']:.3g})"
            )
    walls = "; ".join(f"{_SIDES[side]} {', '.join(each)}" for side, each in took.items())
    return f"Beside the port of airbench94_muon: {'; '.join(told)}. Seconds taken: {walls}."


def _accuracies(details: dict[str, Any]) -> str:
    told = [
        f"{100 * ours:.2f} % ({100 * low:.2f} to {100 * high:.2f}) beside {100 * theirs:.2f} %"
        for (ours, theirs), (low, high) in zip(details["test accuracy"], details["interval of ours"], strict=True)
    ]
    return f"Right of {details['n']:,} test pictures: {'; '.join(told)}."


def _deadlines(details: dict[str, Any]) -> str:
    both = zip(details["budget"], details["wall"], strict=True)
    told = [
        f"of {budget:.0f} s {', '.join(f'{wall:.1f}' for _, wall in group)}"
        for budget, group in groupby(both, key=lambda pair: pair[0])
    ]
    return f"Seconds taken: {'; '.join(told)}."


def _larger(details: dict[str, Any]) -> str:
    told = [
        f"{one['shorter side']:,} pixels {one['ratio']:.3g} ({one['low']:.3g} to {one['high']:.3g}; {one['pairs']} "
        f"pairs), {one['ours']:.3g} beside {one['theirs']:.3g} a second"
        for one in details.get("larger", ())
    ]
    made_of = {one.get("made of", "photographs") for one in details.get("larger", ())}
    return f"Mosaics of {', '.join(made_of)} with a shorter side of {'; of '.join(told)}." if told else ""


def _together(details: dict[str, Any]) -> str:
    low, high = details.get("interval of points lost", (None, None))
    sure = "" if low is None else f" ({low:z.2f} to {high:z.2f})"
    lost = f"{details['points lost']:.2f} points{sure} fewer right of {details['n']:,} validation pictures"
    many = details.get("together")
    if many is None:
        return f"{lost.capitalize()}."
    return (
        f"{lost.capitalize()}. {many['pictures']} pictures at a time: {many['ratio']:.3g} ({many['low']:.3g} to "
        f"{many['high']:.3g}; {many['pairs']} pairs), {many['ours']:.3g} beside {many['theirs']:.3g} ms a picture."
    )


def _keras(details: dict[str, Any]) -> str:
    return f"Keras on TensorFlow takes {', '.join(f'{seconds:.1f}' for seconds in details['by Keras'])} s."


_TELL: dict[str, Callable[[dict[str, Any]], str]] = {
    "P2": _backends,
    "P3": _airbench,
    "P5": _larger,
    "P6": _accuracies,
    "P7": _deadlines,
    "P9": _together,
    "P10": _keras,
}

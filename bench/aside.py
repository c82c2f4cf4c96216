"""What a row's record says beside its ratio, in a sentence for the page of benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any


def aside(record: dict[str, Any]) -> str:
    """A sentence with a blank before it, or nothing."""
    tell = _TELL.get(record["id"])
    return "" if tell is None else f" {tell(record['details'])}"


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


def _keras(details: dict[str, Any]) -> str:
    return f"Keras on TensorFlow takes {', '.join(f'{seconds:.1f}' for seconds in details['by Keras'])} s."


_TELL: dict[str, Callable[[dict[str, Any]], str]] = {
    "P2": _backends,
    "P3": _airbench,
    "P6": _accuracies,
    "P7": _deadlines,
    "P10": _keras,
}

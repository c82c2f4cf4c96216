"""Several runs to one comparing page: what each scored, and whether the differences are more than chance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lightmeter.errors import DataError
from lightmeter.nouns.run import passes
from lightmeter.verbs.compare import Comparison, compare
from lightmeter.verbs.reporting.material import Material
from lightmeter.verbs.reporting.words import count, duration, listed, many, percent, span


def context(materials: Sequence[Material], out: Path) -> dict[str, Any]:
    """All that several.html.j2 needs; runs are in order of their test accuracy."""
    names = _names(materials)
    tested = sorted((m for m in materials if m.test is not None), key=_accuracy, reverse=True)
    rest = [material for material in materials if material.test is None]
    low, high = _scale(tested)
    best, others = (tested[0], tested[1:]) if tested else (None, [])
    pairs = [(other, *_against(best, other, names)) for other in others if best is not None]
    return {
        "title": f"{many(len(materials), 'run')} compared",
        "headline": _headline(best, [(other, found) for other, found, _ in pairs], names),
        "rows": [_row(material, names[material.path], out, low, high) for material in (*tested, *rest)],
        "pairs": [
            {
                "verdict": found.verdict if found else "not comparable",
                "sentence": sentence,
                "details": f"{found.only_first:,} only “{names[best.path]}”, {found.only_second:,} only "
                f"“{names[other.path]}” named right"
                if found and best
                else "",
            }
            for other, found, sentence in pairs
        ],
        "chance": len(pairs) > 1,
    }


def _accuracy(material: Material) -> float:
    return material.test.accuracy if material.test is not None else -1.0


def _against(best: Material, other: Material, names: dict[Path, str]) -> tuple[Comparison | None, str]:
    assert best.test is not None and other.test is not None
    first, second = f"“{names[best.path]}”", f"“{names[other.path]}”"
    try:
        found = compare(best.test, other.test)
    except DataError as error:
        return None, f"{second} cannot be held against {first}. {error.received}"
    return found, found.sentence(first, second)


def _headline(
    best: Material | None, pairs: Sequence[tuple[Material, Comparison | None]], names: dict[Path, str]
) -> tuple[str, str]:
    if best is None:
        return "None of these runs was tested yet.", ""
    name, score = names[best.path], percent(_accuracy(best))
    if not pairs:
        return f"“{name}” is the only run that was tested: {score} right.", ""
    if any(found is None for _, found in pairs):
        return "These runs cannot be ranked:", "not all of them were tested on the same pictures."
    open_ = [f"“{names[other.path]}”" for other, found in pairs if found and found.verdict != "worse"]
    if open_:
        return f"“{name}” has the highest score, {score},", f"but {listed(open_)} cannot be told apart from it."
    return f"“{name}” is the best of {len(pairs) + 1} runs: {score} right.", "Every other is worse by more than chance."


def _row(material: Material, name: str, out: Path, low: float, high: float) -> dict[str, Any]:
    test, result = material.test, material.result or {}
    recipe = (material.recipe or {}).get("recipe", {})
    model = recipe.get("model", {})
    row: dict[str, Any] = {
        "name": name,
        # "./" and the quoting keep a folder named like "javascript:..." a folder.
        "link": "./" + quote(Path(os.path.relpath(material.path / "report.html", out.parent)).as_posix()),
        "written": (material.path / "report.html").exists(),
        "data": material.name,
        "model": f"{model.get('name', '–')} × {model.get('width', 1):g}" if model else "–",
        "epochs": f"{passes(material.epochs):g}" if material.epochs else "–",
        "time": duration(float(result["seconds"])) if result.get("seconds") else "–",
        "accuracy": "",
    }
    if test is not None:
        start, end = test.interval
        width = high - low
        row |= {
            "n": count(test.n),
            "accuracy": percent(test.accuracy, 2),
            "span": span(start, end),
            "ece": f"{100 * test.ece:.1f}",
            "macro": f"{test.averages['macro']['f1']:.3f}",
            "left": f"{100 * (start - low) / width:.2f}",
            "wide": f"{100 * (end - start) / width:.2f}",
            "dot": f"{100 * (test.accuracy - low) / width:.2f}",
        }
    return row


def _scale(tested: Sequence[Material]) -> tuple[float, float]:
    """The range of accuracies that the small bars show."""
    ends = [material.test.interval for material in tested if material.test is not None]
    low, high = min((end[0] for end in ends), default=0.0), max((end[1] for end in ends), default=1.0)
    return low, max(high, low + 1e-9)


def _names(materials: Sequence[Material]) -> dict[Path, str]:
    """A name for each run: its folder's, with its parent's where two are alike."""
    short = [material.path.resolve().name for material in materials]
    return {
        material.path: name if short.count(name) == 1 else f"{material.path.resolve().parent.name}/{name}"
        for material, name in zip(materials, short, strict=True)
    }

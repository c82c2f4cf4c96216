"""Inspect: a run, a bundle or a pack -> what it says of itself, as data and as lines to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightmeter.errors import FormatError
from lightmeter.nouns.bundle import CARD, EXAM, Bundle
from lightmeter.nouns.pack import DOCUMENT, Pack
from lightmeter.nouns.run import Run

_PARTS = ("request", "recipe", "data", "environment", "plan", "result")


def inspect(path: Path) -> dict[str, Any]:
    """What the folder says of itself: `kind` ("run", "bundle" or "pack"), `path`, and the documents in it.

    Raises:
        FormatError: it is none of these, or one of a newer format.
        BundleError: a bundle that is not whole.
    """
    if (path / CARD).is_file():
        return _bundle(path)
    if (path / DOCUMENT).is_file():
        return _pack(path)
    if (path / "request.json").is_file() or (path / "recipe.json").is_file():
        return _run(path)
    raise FormatError(
        f"{path} is nothing that Lightmeter wrote." if path.exists() else f"{path} does not exist.",
        f"a bundle ({CARD} in it), a pack ({DOCUMENT}) or a run (request.json)",
    )


def is_place(text: str) -> bool:
    """Whether what a user wants inspected is a path, there or not, and no name of a model."""
    return Path(text).exists() or (":" not in text and Path(text).name != text)


def lines(document: dict[str, Any]) -> list[str]:
    """What `inspect` found, one fact a line; long lists and nested documents are cut short, fractions to 5 digits."""
    shown = [f"{document['kind']} {document['path']}"]
    for key, value in document.items():
        if key in ("kind", "path"):
            continue
        if isinstance(value, dict) and value:
            shown.append(f"{key}:")
            shown += [f"  {name}: {_short(part)}" for name, part in value.items()]
        else:
            shown.append(f"{key}: {_short(value)}")
    return shown


def _bundle(path: Path) -> dict[str, Any]:
    bundle = Bundle.open(path)
    card = bundle.model_dump(mode="json", exclude={"files"})
    exam = bundle.exam()
    facts = {
        "pictures": len(exam.images),  # the user's own, with whatever their files say of camera and place
        "tolerance": exam.tolerance.model_dump(),
        "made_with": exam.made_with,
        "file": EXAM,
    }
    sizes = {name: (path / name).stat().st_size for name in bundle.files}
    return {"kind": "bundle", "path": str(path), **card, "calibrated": bundle.calibrated, "exam": facts, "bytes": sizes}


def _pack(path: Path) -> dict[str, Any]:
    return {"kind": "pack", "path": str(path), **Pack.open(path).document}


def _run(path: Path) -> dict[str, Any]:
    run = Run(path)
    documents = {name: run.read(name) for name in _PARTS if run.has(name)}
    for document in documents.values():
        document.pop("format")
    return {
        "kind": "run",
        "path": str(path),
        "finished": bool(documents.get("result", {}).get("complete", "result" in documents)),
        "epochs": len(run.epochs()),
        "bundle": str(run.bundle) if run.bundle.is_dir() else None,
        **documents,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _short(value: Any, most: int = 100) -> str:
    value = _plain(value)
    if isinstance(value, list) and len(value) > 8:
        head = json.dumps(value[:8], ensure_ascii=False, default=str)
        return f"{head[:most]} ... ({len(value)} in all)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[:most]} ..."

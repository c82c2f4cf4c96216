"""Material of a run to what the template shows: every number already in words, every picture already inline."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from lightmeter.errors import DataError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.verbs.reporting import figures, past, pictures, tables
from lightmeter.verbs.reporting.drawing import Drawn
from lightmeter.verbs.reporting.findings import chance_ece, findings
from lightmeter.verbs.reporting.material import Material
from lightmeter.verbs.reporting.words import GLOSSARY, count, duration, epochs, listed, many, percent, span, verdict

if TYPE_CHECKING:
    from lightmeter.nouns.pack import Pack

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
_SPLITS = ("train", "val", "test")


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template; every string is escaped, and a name that the context lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(style=style, **context)


def draw(material: Material) -> dict[str, Drawn]:
    """Every figure that the material allows, by name."""
    drawn = figures.curves(material.epochs, material.best_epoch) if material.epochs else []
    if material.scored is not None:
        e, calibration = material.scored, material.calibration
        drawn += [figures.confusion(e), figures.per_class(e), figures.reliability(e)]
        drawn.append(figures.abstaining(e, calibration.abstain_below if calibration else None))
    return {figure.name: figure for figure in drawn}


def context(material: Material, drawn: dict[str, Drawn], pack: Pack | None) -> dict[str, Any]:
    """All that report.html.j2 needs."""
    e = material.scored
    environment = {name: value for name, value in (material.environment or {}).items() if name != "format"}
    mistakes, unsure, no_pictures = _gallery(e, pack)
    return {
        "title": f"{material.name}: how good is the model?",
        "name": material.name,
        "started": str(environment.get("started", ""))[:10],
        "version": str(environment.get("lightmeter", "")),
        "finished": material.test is not None,
        "split_word": "validation" if material.test is None else "test",
        "verdict": _verdict(material),
        "cards": _cards(material),
        "past": _past(material),
        "findings": findings(material),
        "figures": {name: _figure(figure) for name, figure in drawn.items()},
        "many_classes": e is not None and len(e.classes) > figures.LABELLED,
        "confusions": tables.confusions(e),
        "classes": tables.class_rows(e),
        "scores": tables.scores(material),
        "sklearn": e.classification_report() if e else "",
        "mistakes": mistakes,
        "unsure": unsure,
        "no_pictures": no_pictures,
        "wrong": int((~e.correct).sum()) if e else 0,
        "scored_count": e.n if e else 0,
        "epochs": _epochs_sentence(material),
        "moments": tables.moments(material),
        "data": _data(material, pack),
        "plan": _plan(material),
        "recipe": _recipe(material),
        "environment": [(name, _plain(value)) for name, value in environment.items() if value is not None],
        "openings": material.ledger,
        "bundle": "model.bundle",
        "glossary": GLOSSARY,
    }


def _figure(figure: Drawn) -> dict[str, Any]:
    return {"svg": Markup(figure.svg), "caption": figure.caption, "width": round(figure.width)}


def _verdict(material: Material) -> dict[str, str]:
    e = material.scored
    if e is None:
        return {
            "sentence": "This run did not finish, so nobody knows yet how good its model is.",
            "range": "What it did until then is below.",
            "basis": "",
        }
    sentence, between = verdict(e, material.past if e.split == "test" else None)
    if e.split != "test":
        basis = (
            f"This run did not finish: measured on {many(e.n, 'validation picture')}, from which the best moment of "
            "training was chosen, so it looks a little too good. The test pictures are still unseen."
        )
    elif material.past and material.past["contaminated"]["n"]:
        seen, clean, unknown = (int(material.past[kind]["n"]) for kind in ("contaminated", "clean", "unknown"))
        them = f"{count(seen)} (or their twins) the model had seen"
        doubt = f", of {count(unknown)} it cannot be told" if unknown else ""
        basis = (
            f"Measured on {many(clean, 'test picture')}; {them}{doubt}: those are left out of this sentence."
            if clean
            else f"Measured on {many(e.n, 'test picture')}: {them}, which can make it look better than it is."
        )
    elif material.leaks:  # of a run that did not look for more than copies
        basis = (
            f"Measured on {many(e.n, 'test picture')}, of which {material.leaks:,} also stand in training, which "
            "makes it look better than it is."
        )
    else:
        basis = f"Measured on {many(e.n, 'test picture')} that were never used in training."
    return {"sentence": sentence, "range": between, "basis": basis}


def _past(material: Material) -> dict[str, Any] | None:
    """The section on what the model had seen; None where every picture is clean or nobody looked."""
    found = material.past
    if found is None or not past.noteworthy(found):
        return None
    return {
        "sentence": past.sentence(found),
        "rows": past.rows(found),
        "reasons": past.reasons(found),
        "seen": [str(name) for name in found["seen"]],
        "pairs": [(str(first), str(second)) for first, second in found["pairs"]],
    }


def _cards(material: Material) -> list[tuple[str, str, str]]:
    """(title, value, what it rests on)."""
    cards: list[tuple[str, str, str]] = []
    e = material.scored
    if e is not None:
        low, high = e.interval
        where = "test" if e.split == "test" else "validation"
        cards.append(("Accuracy", percent(e.accuracy), f"{span(low, high)}, {count(e.n)} {where} pictures"))
        support = e.confusion.sum(axis=1)
        common, frequent = int(support.argmax()), int(support.max())
        cards.append(("Baseline", percent(frequent / e.n), f"right by always saying “{e.classes[common]}”"))
        seen = [(row["recall"], name, row) for name, row in zip(e.classes, e.per_class, strict=True) if row["support"]]
        recall, name, row = min(seen, key=lambda entry: entry[0])
        cards.append(("Weakest class", percent(recall), f"“{name}”, {span(row['low'], row['high'])}"))
        if len(e.classes) > 5:
            cards.append(("Top-5 accuracy", percent(e.top5), "right name among the first five"))
        macro = e.averages["macro"]["f1"]
        cards.append(("F1, mean over classes", f"{macro:.3f}", f"{many(len(e.classes), 'class', 'classes')}, macro"))
        chance = f"points (ECE); {100 * chance_ece(e):.1f} by chance alone"
        cards.append(("Calibration error", f"{100 * e.ece:.1f}", chance))
        if (calibration := material.calibration) is not None and e.split == "test":
            kept = e.confidence >= calibration.abstain_below
            if kept.any() and not kept.all():
                share = f"right, passing on {percent(float(1 - kept.mean()))} of pictures"
                cards.append(("When it may pass", percent(float(e.correct[kept].mean())), share))
    result = material.result or {}
    if material.epochs or "seconds" in result:
        seconds = float(result.get("seconds") or material.epochs[-1].get("elapsed", 0))
        budget = result.get("budget") or (material.plan or {}).get("budget")
        asked = f", {duration(float(budget))} were given" if budget else ""
        cards.append(("Time", duration(seconds), f"{epochs(material.epochs)}{asked}"))
    return cards


def _gallery(e: Evaluation | None, pack: Pack | None) -> tuple[list[Any], list[Any], str]:
    if e is None:
        return [], [], "No picture was scored in this run."
    missing = "The pictures themselves were not at hand when this report was written."
    if pack is None:
        return [], [], missing
    try:
        mistakes, unsure = pictures.gallery(e, pack)
    except DataError:  # another pack than the run's
        return [], [], missing
    return mistakes, unsure, ""


def _epochs_sentence(material: Material) -> str:
    if not material.epochs:
        return "No epoch of this run was recorded."
    first, last = material.epochs[0], material.epochs[-1]
    parts = [f"{epochs(material.epochs)} in {duration(float(last.get('elapsed', 0)))} from the start"]
    speeds = [float(record["images_per_second"]) for record in material.epochs if record.get("images_per_second")]
    if speeds:
        parts.append(f"about {count(float(np.median(speeds)))} pictures a second in training")
    if first.get("batch_size"):
        parts.append(f"{count(float(first['batch_size']))} pictures a step")
    best = f" The weights of epoch {material.best_epoch} were kept." if material.best_epoch is not None else ""
    return f"{listed(parts)}.{best}"


def _data(material: Material, pack: Pack | None) -> dict[str, Any]:
    data, split = material.data or {}, material.split
    classes = [str(name) for name in data.get("classes", [])]
    counts = {name: int(data["split"][name]) for name in _SPLITS if name in data.get("split", {})}
    if split is not None:
        counts = {"train": len(split.train), "val": len(split.val), "test": len(split.test)}
    origin = split.origin if split else data.get("split", {}).get("origin", {})
    shown: list[list[str]] = [[] for _ in classes]
    if pack is not None and split is not None and classes:
        with contextlib.suppress(DataError):  # another pack than the run's
            shown = pictures.samples(material, pack, classes)
    totals = [int(number) for number in data.get("counts", [0] * len(classes))]
    largest = max(totals, default=0) or 1
    words = {"source": "as the source gives them", "drawn": "drawn by Lightmeter"}
    names = {"train": "Training", "val": "Validation", "test": "Test"}
    return {
        "known": bool(data),
        "n": count(float(data.get("n", 0))),
        "num_classes": len(classes),
        "splits": [
            (names[name], count(number), words.get(origin.get(name, ""), "")) for name, number in counts.items()
        ],
        "rows": [
            {"name": name, "n": count(total), "share": f"{100 * total / largest:.1f}", "pictures": images}
            for name, total, images in zip(classes, totals, shown, strict=True)
        ],
        "mosaic": len(classes) > pictures.SAMPLED,
        "notes": [str(note) for note in data.get("notes", [])],
        "bad": data.get("bad", []),
        "fingerprint": str(data.get("fingerprint", ""))[:16],
        "kind": {"own": "your own pictures", "verified": "a named data set, its files verified by checksum"}.get(
            str(data.get("official", "")), "a named data set, its files not verified"
        ),
    }


def _plan(material: Material) -> dict[str, Any]:
    plan = material.plan or {}
    phases = [(str(phase["name"]), float(phase["seconds"])) for phase in plan.get("phases", [])]
    longest = max((seconds for _, seconds in phases), default=0) or 1
    return {
        "known": bool(plan),
        "sentences": [str(sentence) for sentence in plan.get("sentences", [])],
        "execution": [(name.replace("_", " "), _plain(value)) for name, value in plan.get("execution", {}).items()],
        "measurements": [
            {
                "what": str(entry.get("what", "")),
                "speed": count(float(entry.get("images_per_second") or 0)),
                "error": f"{float(entry['max_error']):.2g}" if entry.get("max_error") else "–",
                "accepted": bool(entry.get("accepted", True)),
                "note": str(entry.get("note") or ""),
            }
            for entry in plan.get("measurements", [])
        ],
        "phases": [(name, duration(seconds), f"{100 * seconds / longest:.1f}") for name, seconds in phases],
    }


def _recipe(material: Material) -> dict[str, Any]:
    document = material.recipe or {}
    return {
        "key": str(document.get("key", ""))[:16],
        "rows": [(name.replace("_", " "), _plain(value)) for name, value in document.get("recipe", {}).items()],
    }


def _plain(value: Any) -> str:
    """A JSON value for people: nested values as "name value" pairs."""
    if isinstance(value, dict):
        return (
            ", ".join(f"{name} {_plain(part)}" for name, part in value.items() if part not in ({}, [], None)) or "none"
        )
    if isinstance(value, list):
        return " · ".join(_plain(part) for part in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)

"""study.json -> what its pages say, in words, and `study.html`, one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import write_atomic
from lightmeter.studies.base import FROM_ARM
from lightmeter.studies.markdown import markdown
from lightmeter.studies.results import beside
from lightmeter.verbs.reporting.words import THIN, count, duration, listed, many, percent, span

ROLES = {"faithful": "faithful", "ours": "ours", "variant": "variant"}
SCALES = {"smoke": "a trial run", "cpu": "sized for two cores", "full": "the published size"}


def write_pages(document: dict[str, Any], folder: Path) -> None:
    """Write both pages and `plots/*.png` into the study's folder. Raises StorageError."""
    from lightmeter.studies.plots import draw  # matplotlib takes a second to import
    from lightmeter.verbs.reporting.page import render

    said, figures = context(document), draw(document, folder)
    for figure in figures.values():
        write_atomic(folder / "plots" / f"{figure.name}.png", figure.png)
    shown = {
        name: {"svg": Markup(figure.svg), "caption": figure.caption, "width": round(figure.width)}
        for name, figure in figures.items()
    }
    page = render(
        "study.html.j2",
        {
            **said,
            "figures": shown,
            "shown": {name.partition("-")[0] + "s" for name in shown},
            "reports": _reports(document, folder),
        },
    )
    write_atomic(folder / "study.html", page.encode("utf-8", "replace"))
    write_atomic(folder / "study.md", markdown(said))


def context(document: dict[str, Any]) -> dict[str, Any]:
    """What both pages say, in words; study.html.j2 needs the figures and reports besides."""
    arms = [_row(arm) for arm in document["arms"]]
    seeds = document["seeds"]
    done = [arm for arm in document["arms"] if "accuracy" in arm]
    basis = (
        f"means over {len(seeds)} seeds, with the 95{THIN}% interval of Student's t over them"
        if any(arm["accuracy"]["basis"] == "seeds" for arm in done)
        else f"one training each, with the 95{THIN}% interval of its test pictures (Wilson)"
    )
    return {
        "title": document["title"],
        "name": document["name"],
        "question": document["question"],
        "scale": f"scale {document['scale']}: {SCALES[document['scale']]}" if document["published"] else "",
        "left_out": document["left_out"],
        "headline": headline(document),
        "columns": _columns(document),
        "arms": arms,
        "any_published": any(arm["published"] is not None for arm in document["arms"]),
        "basis": basis,
        "verdicts": [_verdict(entry) for entry in document["verdicts"]],
        "chance": len(document["verdicts"]) > 1,
        "knee": _knee(document["knee"]),
        "rows": [_rows(name, table) for name, table in document["rows"].items()],
        "notes": [(arm["name"], arm["note"]) for arm in document["arms"] if arm["note"]],
        "trouble": _trouble(document),
        "unseen": [(arm["name"], arm["clean"]) for arm in arms if arm["finished"] and arm["clean"]],
        "leaks": _leaks(done),
        "environment": [(name, str(value)) for name, value in document["environment"].items() if value is not None],
        "version": document["lightmeter"],
    }


def headline(document: dict[str, Any]) -> tuple[str, str]:
    """What the study found, in a sentence, and how that stands to what was published."""
    done = [arm for arm in document["arms"] if "accuracy" in arm]
    if not done:
        return "No arm of this study finished.", "The reasons are below."
    named = {entry["name"]: entry for entry in document["against"]}
    ours = [arm for arm in done if arm["role"] == "ours"] or _last(done)
    if not all(_same_task(arm, ours[0]) for arm in ours):
        return _several_tasks(ours)
    best = max(ours, key=lambda arm: arm["val"])  # by validation: the test pictures choose nothing
    found = best["accuracy"]
    who = f"{best['name']}, best by validation," if len(ours) > 1 else best["name"]
    first = f"{who} names {percent(found['mean'])} of {count(best['n']['test'])} test pictures right"
    known = [arm["published"] for arm in done if arm["published"] is not None and _same_task(arm, best)]
    if document["scale"] == "smoke":
        return first, f"({span(found['low'], found['high'])}), which means nothing at this scale."
    if not known:
        return first, f"({span(found['low'], found['high'])})."
    if best["name"] in named:
        published = named[best["name"]]["published"]
    else:
        published = max(known)
    verdict = beside(found, best["n"]["test"], published)
    way = {"better": "more than the", "worse": "less than the"}.get(verdict, "not distinguishable from the")
    return first, f"({span(found['low'], found['high'])}), {way} published {percent(published)}."


def _last(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that no other starts from: what a study without an arm of ours is about."""
    begun = {arm["start"] for arm in arms}
    return [arm for arm in arms if f"{FROM_ARM}{arm['name']}" not in begun]


def _several_tasks(ours: list[dict[str, Any]]) -> tuple[str, str]:
    """Where each arm has classes of its own: none stands for the others."""
    low, *_, high = sorted(ours, key=lambda arm: float(arm["accuracy"]["mean"]))
    least, most = (percent(arm["accuracy"]["mean"]) for arm in (low, high))
    who = "ours names" if low["role"] == "ours" else "the arms name"
    return f"{who} {least} to {most} of the test pictures right", f"({low['name']} to {high['name']})."


def _same_task(arm: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether both name the same classes of the same source, so that their accuracies can stand side by side."""
    return all(arm["pictures"][name] == other["pictures"][name] for name in ("source", "classes"))


def _row(arm: dict[str, Any]) -> dict[str, Any]:
    """One line of the main table."""
    head = {"name": arm["name"], "role": ROLES[arm["role"]], "finished": "accuracy" in arm}
    head["published"] = "" if arm["published"] is None else percent(arm["published"])
    if not head["finished"]:
        reasons = dict.fromkeys(entry["reason"] or entry["state"] for entry in arm["seeds"])
        return {**head, "why": listed(list(reasons))}
    found, cost = arm["accuracy"], arm["cost"]
    return {
        **head,
        "accuracy": percent(found["mean"]),
        "span": span(found["low"], found["high"]),
        "loss": f"{arm['loss']:.3f}",
        "learning": percent(arm["train"]),
        "fit": percent(arm["fit"]),
        "gap": f"{100 * arm['gap']:+.1f}",
        "f1": f"{arm['macro']['f1']:.3f}",
        "total": count(arm["parameters"]["total"]),
        "trainable": count(cost["trainable"]),
        "epochs": f"{cost['epochs']:g}",
        "per_epoch": duration(cost["seconds_per_epoch"]),
        "seconds": duration(cost["seconds"]),
        "n": count(arm["n"]["test"]),
        "clean": _clean(arm["clean"]),
    }


def _clean(found: dict[str, Any] | None) -> str:
    """The figure on pictures that the start weights cannot have seen; "" for weights that have seen nothing public."""
    if found is None:
        return ""
    if not found["n"]:
        return "no picture is known to be unseen"
    accuracy = found["accuracy"]
    return f"{percent(accuracy['mean'])} of {count(found['n'])} ({span(accuracy['low'], accuracy['high'])})"


def _columns(document: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Published | faithful | ours: each a list of (what, figure)."""
    if not document["published"]:
        return []
    columns = [("Published", list(document["published"].items()))]
    for role, title in (("faithful", "Faithful: same network and settings"), ("ours", "Ours: best recipe")):
        rows = []
        for arm in document["arms"]:
            if arm["role"] == role:
                row = _row(arm)
                text = (
                    f"{row['accuracy']} ({row['span']}), {row['seconds']}{_before(arm, document['arms'])}"
                    if row["finished"]
                    else f"did not finish: {row['why']}"
                )
                rows.append((arm["name"], text))
        columns.append((title, rows or [("", "this study has none")]))
    return columns


def _before(arm: dict[str, Any], arms: list[dict[str, Any]]) -> str:
    """The training that its start weights took, which its own seconds leave out."""
    base = next((other for other in arms if arm["start"] == f"arm:{other['name']}" and "cost" in other), None)
    if base is None:
        return ""
    return f" after {duration(base['cost']['seconds'])} for {base['name']}{_before(base, arms)}"


def _verdict(entry: dict[str, Any]) -> dict[str, str]:
    verdict = entry["verdict"]
    return {
        "verdict": verdict,
        "title": {"none": "No verdict"}.get(verdict, f"{entry['second']} against {entry['first']}: {verdict}"),
        "sentence": entry["sentence"],
        "level": {"better": "good", "worse": "warn", "none": "warn"}.get(verdict, "note"),
        "sign": {"better": "↑", "worse": "↓", "none": "?"}.get(verdict, "="),
    }


def _knee(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "sentence": _stops("More", found),
        "steps": [_step(step) for step in found["steps"]],
    }


def _stops(what: str, found: dict[str, Any]) -> str:
    """Where `what` stops paying, in a sentence; where the curve ends before that, that it did not."""
    if not found["steps"] or found["name"] == found["steps"][-1]["to"]:
        return f"E{found['reason'][1:]}"
    return f"{what} stop{'' if what.endswith('s') else 's'} paying at {found['name']}: {found['reason']}"


def _step(step: dict[str, Any]) -> dict[str, str]:
    sign = "-" if step["cost"] < 0 else "+"
    return {
        "step": f"{step['from']} → {step['to']}",
        "gain": f"{100 * step['gain']:+.2f}",
        "cost": f"{sign}{duration(abs(step['cost']))}",
        "tenth": "no gain" if step["tenth"] is None else duration(step["tenth"]),
        "verdict": step["verdict"],
    }


def _rows(name: str, table: dict[str, Any]) -> dict[str, Any]:
    steps = {step["to"]: _step(step) for step in table["knee"]["steps"]}
    none = {"tenth": "", "verdict": ""}
    return {
        "name": name,
        "sentence": (
            f"{_stops('More epochs', table['knee'])} Each row is held against the best before it, by "
            f"{count(table['n'])} validation pictures."
        ),
        "rows": [
            {
                "epoch": count(row["epoch"]),
                "seconds": duration(row["seconds"]),
                "train": percent(row["train"]),
                "val": percent(row["val"]),
                **{key: steps.get(many(row["epoch"], "epoch"), none)[key] for key in none},
            }
            for row in table["rows"]
        ],
    }


def _trouble(document: dict[str, Any]) -> list[tuple[str, str]]:
    """(arm and seed, reason) of every training that is not there."""
    return [
        (f"{arm['name']}, seed {entry['seed']}", f"{entry['state']}: {entry['reason']}".removesuffix(": "))
        for arm in document["arms"]
        for entry in arm["seeds"]
        if entry["state"] != "done"
    ]


def _leaks(done: list[dict[str, Any]]) -> str:
    most = max((arm["n"]["leaks"] for arm in done), default=0)
    drawn = any(arm["pictures"]["test_share"] for arm in done)
    why = "" if drawn else ", as the data set was published"
    return f"{many(most, 'test picture')} also stand in training{why}." if most else ""


def _reports(document: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """(arm, the classification report of its first seed), as scikit-learn prints it."""
    found = []
    for arm in document["arms"]:
        run = next((entry["run"] for entry in arm["seeds"] if "run" in entry), None)
        if run is not None and (arm["role"] != "variant" or len(document["arms"]) <= 6):
            evaluation = Evaluation.load(folder / run / "evaluation" / "test.npz")
            found.append((arm["name"], evaluation.classification_report()))
    return found

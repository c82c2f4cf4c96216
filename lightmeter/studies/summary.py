"""The runs of a study -> `study.json`: every number of its page, worked out from what each run keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lightmeter import __version__
from lightmeter.errors import DataError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.run import Run
from lightmeter.studies.base import Arm, Scale, Study
from lightmeter.studies.results import Point, apart, beside, judge, knee, mean_accuracy
from lightmeter.verbs.reporting.words import many

FORMAT = 1
_PLACES = 6  # decimals of what is derived: enough for any page, and the same on every machine


@dataclass(frozen=True, slots=True)
class Status:
    """How far an arm has come with a seed: "done", "waiting", or "failed" or "skipped" for a reason."""

    state: Literal["done", "waiting", "failed", "skipped"]
    reason: str
    run: Run


Statuses = Mapping[tuple[str, int], Status]


def document_of(
    study: Study, scale: Scale, arms: Sequence[Arm], statuses: Statuses, *, complete: bool, judged: bool
) -> dict[str, Any]:
    """The whole of study.json.

    Args:
        complete: whether every training that was asked for was tried; arms that were not asked for are then left out.
        judged: whether to hold arms against each other, which reads what each picture was named.
    """
    shown = [arm for arm in arms if not complete or any(s.state != "waiting" for s in _of(arm.name, statuses).values())]
    entries = [_arm(arm, _of(arm.name, statuses)) for arm in shown]
    tests = {arm.name: _tests(_of(arm.name, statuses)) for arm in shown} if judged else {}
    every = study.rows_every.get(scale, 0)
    done = [status for status in statuses.values() if status.state == "done"]
    return {
        "format": FORMAT,
        "name": study.name,
        "title": study.title,
        "question": study.question,
        "scale": scale,
        "left_out": study.left_out.get(scale, ""),
        "published": dict(study.published),
        "seeds": sorted({seed for (name, seed), status in statuses.items() if status.state != "waiting"}),
        "complete": complete,
        "arms": entries,
        "verdicts": [_verdict(pair, tests) for pair in study.pairs if set(pair) <= set(tests)],
        "against": [found for entry in entries if (found := _against(entry)) is not None],
        "knee": _knee(study.curve, entries, tests),
        "rows": {entry["name"]: _rows(entry, statuses, every) for entry in entries if every and _finished(entry)},
        "lightmeter": __version__,
        "environment": _environment(done),
    }


def _of(name: str, statuses: Statuses) -> dict[int, Status]:
    return {
        seed: status for (other, seed), status in sorted(statuses.items(), key=lambda item: item[0][1]) if other == name
    }


def _arm(arm: Arm, statuses: dict[int, Status]) -> dict[str, Any]:
    """One arm: what it is, each seed, and what its seeds come to."""
    seeds = []
    for seed, status in statuses.items():
        entry: dict[str, Any] = {"seed": seed, "state": status.state, "reason": status.reason}
        if status.state == "done":
            found = {name: value for name, value in status.run.read("result").items() if name != "format"}
            entry |= {"run": f"arms/{arm.name}/seed-{seed}", "start": status.run.recipe.start, **found}
        seeds.append(entry)
    done = [entry for entry in seeds if entry["state"] == "done"]
    head: dict[str, Any] = {"name": arm.name, "role": arm.role, "note": arm.note, "published": arm.published}
    head |= {"start": arm.start, "best_of": list(arm.best_of), "pictures": asdict(arm.pictures), "seeds": seeds}
    if not done:
        return head
    split = next(status.run.split for status in statuses.values() if status.state == "done")
    evaluations = list(_tests(statuses).values())
    averages = [evaluation.averages["macro"] for evaluation in evaluations]

    def mean(*path: str) -> float:
        values = []
        for entry in done:
            value: Any = entry
            for name in path:
                value = value[name]
            values.append(float(value))
        return round(float(np.mean(values)), _PLACES)

    return {
        **head,
        "n": {"train": len(split.train), "val": len(split.val), "test": len(split.test), "leaks": len(split.leaks)},
        "parameters": done[0]["parameters"],
        "accuracy": _rounded(mean_accuracy([entry["test"] for entry in done]).document()),
        "loss": mean("test", "loss"),
        "top5": mean("test", "top5"),
        "val": mean("val", "accuracy"),
        "fit": mean("fit", "accuracy"),
        "train": mean("train", "accuracy"),
        "gap": round(mean("fit", "accuracy") - mean("test", "accuracy"), _PLACES),
        "clean": _clean(done),
        "macro": {
            name: round(float(np.mean([row[name] for row in averages])), _PLACES)
            for name in ("precision", "recall", "f1")
        },
        "cost": {
            "trainable": done[0]["parameters"]["trainable"],
            "epochs": mean("epochs"),
            "seconds_per_epoch": mean("seconds_per_epoch"),
            "seconds": mean("seconds"),
            "images_per_second": mean("images_per_second"),
        },
    }


def _clean(done: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Accuracy on test pictures that the start weights cannot have seen; None where nothing public was seen at all."""
    parts = [entry["provenance"]["clean"] for entry in done if "provenance" in entry]
    if not parts:
        return None
    some = [part for part in parts if part["n"]]  # where each seed draws its own test pictures, one may have none
    return {"n": 0} if not some else {"n": int(some[0]["n"]), "accuracy": _rounded(mean_accuracy(some).document())}


def _finished(entry: dict[str, Any]) -> bool:
    return "accuracy" in entry


def _tests(statuses: dict[int, Status]) -> dict[int, Evaluation]:
    return {
        seed: Evaluation.load(status.run.path / "evaluation" / "test.npz")
        for seed, status in statuses.items()
        if status.state == "done"
    }


def _verdict(pair: tuple[str, str], tests: dict[str, dict[int, Evaluation]]) -> dict[str, Any]:
    first, second = pair
    head = {"first": first, "second": second}
    if not set(tests[first]) & set(tests[second]):
        missing = [name for name in pair if not tests[name]]
        why = f"{' and '.join(missing)} did not finish" if missing else "they finished no seed in common"
        return {**head, "verdict": "none", "sentence": f"{second} and {first} cannot be compared: {why}."}
    try:
        judged = judge(tests[first], tests[second])
    except DataError as error:
        return {**head, "verdict": "none", "sentence": f"{second} and {first} cannot be compared. {error.received}"}
    comparison = _rounded(judged.document())
    accuracies = {"accuracy_first": comparison.pop("first"), "accuracy_second": comparison.pop("second")}
    return {**head, **comparison, **accuracies, "sentence": judged.sentence(first, second)}


def _against(entry: dict[str, Any]) -> dict[str, Any] | None:
    """An arm against the figure that was published for it: "above", "below", or "no different" within its interval."""
    if entry["published"] is None or not _finished(entry):
        return None
    found = beside(entry["accuracy"], entry["n"]["test"], entry["published"])
    verdict = {"better": "above", "worse": "below"}.get(found, "no different")
    return {"name": entry["name"], "published": entry["published"], "verdict": verdict}


def _knee(
    curve: Sequence[str], entries: Sequence[dict[str, Any]], tests: dict[str, dict[int, Evaluation]]
) -> dict[str, Any] | None:
    """Where more stops paying along the curve; None where fewer than two of its arms finished."""
    known = {entry["name"]: entry for entry in entries if _finished(entry)}
    names = [name for name in curve if name in known and tests.get(name)]
    if len(names) < 2:
        return None
    points = [Point(name, known[name]["cost"]["seconds"], known[name]["accuracy"]["mean"]) for name in names]

    def verdict(first: str, second: str) -> str:
        try:
            return judge(tests[first], tests[second]).comparison.verdict
        except DataError:  # other test pictures: compared as if by different people
            one, other = known[first], known[second]
            return apart(one["accuracy"]["mean"], one["n"]["test"], other["accuracy"]["mean"], other["n"]["test"])

    verdicts = [
        [verdict(one, other) if place < at else "" for at, other in enumerate(names)] for place, one in enumerate(names)
    ]
    found = knee(points, verdicts)
    return {**found, "steps": [_rounded(step) for step in found["steps"]]}


def _rows(entry: dict[str, Any], statuses: Statuses, every: int) -> dict[str, Any]:
    """Every so many epochs of an arm, the mean over its seeds, and the row after which more epochs stop paying.

    Seconds are summed over epochs, without what comes before and after them. Rows are compared by their validation
    accuracy as if their pictures were different ones, which sees less than a comparison picture by picture.
    """
    runs = [status.run for (name, _), status in statuses.items() if name == entry["name"] and status.state == "done"]
    records = [run.epochs() for run in runs]
    length = min(len(epochs) for epochs in records)
    marks = sorted({*range(every, length + 1, every), length})
    rows = []
    for mark in marks:
        at = [epochs[mark - 1] for epochs in records]
        rows.append(
            {
                "epoch": mark,
                "seconds": float(np.mean([sum(record["seconds"] for record in epochs[:mark]) for epochs in records])),
                "train": float(np.mean([record["train/accuracy"] for record in at])),
                "val": float(np.mean([record["val/accuracy"] for record in at])),
            }
        )
    n = entry["n"]["val"] * len(runs)
    points = [Point(many(row["epoch"], "epoch"), row["seconds"], row["val"]) for row in rows]
    verdicts = [[apart(one.accuracy, n, other.accuracy, n) for other in points] for one in points]
    found = knee(points, verdicts)
    return {
        "n": n,
        "rows": [_rounded(row) for row in rows],
        "knee": {**found, "steps": [_rounded(step) for step in found["steps"]]},
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, _PLACES) if isinstance(value, float) and name != "p" else value
        for name, value in values.items()
    }


def _environment(done: Sequence[Status]) -> dict[str, Any]:
    """Machine and versions of the last training."""
    if not done:
        return {}
    kept = done[-1].run.read("environment")
    return {name: value for name, value in kept.items() if name not in ("format", "command", "started", "seed")}

"""The tables of the report: an Evaluation or the epochs to rows of words."""

from __future__ import annotations

from lightmeter.nouns.evaluation import Evaluation
from lightmeter.verbs.reporting.material import Material
from lightmeter.verbs.reporting.words import count, percent, span


def confusions(e: Evaluation | None) -> list[dict[str, str]]:
    """The most frequent mistakes, as many as stand beside the matrix."""
    if e is None:
        return []
    rows = []
    for label, named, times in e.confusions(9):
        total = int(e.confusion[label].sum())
        rows.append(
            {
                "label": e.classes[label],
                "named": e.classes[named],
                "times": f"{times:,} of {total:,}",
                "share": percent(times / total),
            }
        )
    return rows


def class_rows(e: Evaluation | None) -> list[dict[str, str]]:
    """Every class in words, in the order of the classes."""
    if e is None:
        return []
    return [
        {
            "name": name,
            "recall": percent(row["recall"]) if row["support"] else "–",
            "span": span(row["low"], row["high"]) if row["support"] else "–",
            "precision": percent(row["precision"]),
            "f1": f"{row['f1']:.3f}",
            "support": count(row["support"]),
        }
        for name, row in zip(e.classes, e.per_class, strict=True)
    ]


def scores(material: Material) -> list[dict[str, str]]:
    """Test and validation side by side."""
    rows = []
    for name, e in (("Test", material.test), ("Validation", material.val)):
        if e is None:
            continue
        row = {"name": name, "n": count(e.n), "accuracy": percent(e.accuracy, 2), "span": span(*e.interval)}
        row |= {"top5": percent(e.top5, 2), "loss": f"{e.loss:.4f}", "ece": f"{e.ece:.4f}"}
        row |= {part: f"{e.averages['macro'][part]:.3f}" for part in ("precision", "recall", "f1")}
        row |= {"weighted": f"{e.averages['weighted']['f1']:.3f}"}
        rows.append(row)
    return rows


def moments(material: Material) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Column titles and rows of the table of the first, the kept and the last epoch."""
    epochs = material.epochs
    if not epochs:
        return [], []
    kept = next((record for record in epochs if record["epoch"] == material.best_epoch), epochs[-1])
    chosen = [("first", epochs[0]), ("kept", kept), ("last", epochs[-1])]
    titles = [f"{title} ({int(record['epoch'])})" for title, record in chosen]
    rows = []
    for title, name in (
        ("Training loss", "train/loss"),
        ("Validation loss", "val/loss"),
        ("Training accuracy", "train/accuracy"),
        ("Validation accuracy", "val/accuracy"),
        ("Validation F1, macro", "val/f1_macro"),
        ("Validation ECE, uncalibrated", "val/ece"),
    ):
        values = [record.get(name) for _, record in chosen]
        if any(value is not None for value in values):
            share = name.endswith("accuracy")
            words = ["–" if v is None else percent(float(v)) if share else f"{float(v):.3f}" for v in values]
            rows.append((title, words))
    return titles, rows

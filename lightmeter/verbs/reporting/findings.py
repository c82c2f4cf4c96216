"""What a reader should watch out for, each as one finding in plain words with the numbers it rests on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lightmeter.nouns.evaluation import BINS, Evaluation, wilson
from lightmeter.verbs.reporting.material import Material
from lightmeter.verbs.reporting.past import sentence
from lightmeter.verbs.reporting.words import THIN, count, listed, many, percent, span

_ROUGH = 30  # test pictures of a class below which its own numbers are rough
_ROUGH_ECE = 0.04  # that chance alone would bring, above which nobody can say that there is none
_UNEVEN = 5  # times as many pictures in the largest class as in the smallest


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know: "good" needs nothing, "note" is worth knowing, "warn" limits what the result means."""

    level: Literal["good", "note", "warn"]
    title: str
    text: str


def findings(material: Material) -> list[Finding]:
    """All of them, most serious first."""
    found = [*_of_data(material), *_of_training(material)]
    if material.scored is not None:
        found += [*_of_classes(material.scored), *_of_probabilities(material)]
    rank = {"warn": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda finding: rank[finding.level])


def chance_ece(e: Evaluation) -> float:
    """The ECE that perfectly calibrated probabilities would show on so many pictures, by chance alone.

    In each bin the gap is nearly normal with variance sum p(1 - p), and the mean of its size is sqrt(2 / pi) of the
    deviation.
    """
    place = np.clip(np.ceil(e.confidence * BINS).astype(int) - 1, 0, BINS - 1)
    variance = np.bincount(place, weights=e.confidence * (1 - e.confidence), minlength=BINS)
    return float(math.sqrt(2 / math.pi) * np.sqrt(variance).sum() / e.n)


def weak_classes(e: Evaluation) -> list[int]:
    """Classes whose recall is below the accuracy by more than chance explains, lowest first.

    Exact binomial test of each class at 5 % over all classes together (Bonferroni): of 200 classes, some look weak by
    chance alone.
    """
    from scipy.stats import binom

    hits, support = np.diag(e.confusion), e.confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        p = np.where(support > 0, binom.cdf(hits, support, e.accuracy), 1.0)
    weak = np.flatnonzero(p * len(e.classes) <= 0.05)
    return [int(label) for label in weak[np.argsort(hits[weak] / support[weak], kind="stable")]]


def _of_classes(e: Evaluation) -> Iterator[Finding]:
    weak = weak_classes(e)
    if weak:
        words = []
        for label in weak[:3]:
            row = e.per_class[label]
            words.append(f"“{e.classes[label]}”, found in {percent(row['recall'])} ({span(row['low'], row['high'])})")
        more = f" {many(len(weak) - 3, 'further class', 'further classes')} as well." if len(weak) > 3 else ""
        named = many(len(weak), "class is clearly weaker", "classes are clearly weaker")
        yield Finding("note", f"{named} than the rest", f"{_upper(listed(words))}.{more}")
    elif len(e.classes) > 2:
        text = "Classes differ, but none falls behind by more than chance can explain with so many pictures of each."
        yield Finding("good", "No class is clearly weaker than the rest", text)
    pairs = e.confusions(3)
    if pairs:
        words = []
        for label, other, times in pairs:
            total = int(e.confusion[label].sum())
            words.append(f"“{e.classes[label]}” is named “{e.classes[other]}” {times} of {count(total)} times")
        yield Finding("note", "The most common confusions", f"{_upper('; '.join(words))}.")
    support = e.confusion.sum(axis=1)
    rough = int((support < _ROUGH).sum())
    if rough:
        text = f"{many(rough, 'class has', 'classes have')} fewer than {_ROUGH} pictures here, so numbers of single "
        yield Finding(
            "note", "Numbers of single classes are rough", text + "classes can be far off; see their intervals."
        )


def _of_probabilities(material: Material) -> Iterator[Finding]:
    e = material.scored
    assert e is not None
    points, chance = 100 * e.ece, 100 * chance_ece(e)
    says = (
        f"Stated probability and share of right answers lie {points:.1f} points apart on average; "
        f"about {chance:.1f} would be so by chance alone with {count(e.n)} pictures."
    )
    gap = float(e.confidence.mean()) - e.accuracy
    if e.ece > max(0.02, 1.5 * chance_ece(e)):
        title = "Its probabilities are too " + ("high" if gap > 0 else "low")
        yield Finding("warn" if e.ece > 0.08 else "note", title, says)
    elif chance_ece(e) > _ROUGH_ECE:
        yield Finding("note", "Too few pictures to tell whether its probabilities can be trusted", says)
    else:
        yield Finding("good", "Its probabilities can be taken at their word", says)
    calibration = material.calibration
    if calibration is None or e.split != "test":
        return
    kept = e.confidence >= calibration.abstain_below
    if kept.all() or not kept.any():
        return
    low, high = (float(end) for end in wilson(e.correct[kept].sum(), kept.sum()))
    passed, right = percent(float(1 - kept.mean())), percent(float(e.correct[kept].mean()))
    text = (
        f"The delivered model asks for a person's look at {passed} of the pictures: those it names with less than "
        f"{percent(calibration.abstain_below)}. Of the others {right} are named right ({span(low, high)})."
    )
    aim = f" The aim was at most {percent(calibration.target_error)} of mistakes."
    if 1 - high > calibration.target_error:
        yield Finding("note", "It should ask more often than it does", text + aim)
    elif kept.mean() < 0.5:
        yield Finding("note", "To be safe it must ask about most pictures", text + aim)
    else:
        yield Finding("good" if calibration.reached else "note", "It knows when to ask", text)


def _of_data(material: Material) -> Iterator[Finding]:
    data, leaks = material.data or {}, material.leaks
    if leaks:
        text = f"{many(leaks, 'test picture has', 'test pictures have')} an identical twin among the training pictures"
        rest = material.without_leaks
        text += f"; without them the accuracy is {percent(rest.accuracy)} ({span(*rest.interval)})." if rest else "."
        yield Finding("warn", "Test pictures that stand in training too", text)
    elif material.split is not None:
        text = "Checked pixel by pixel on the decoded pictures."
        yield Finding("good", "No exact copy of a test picture stands in training", text)
    clusters = material.split.clusters if material.split else int(data.get("split", {}).get("clusters", 0))
    if clusters:
        text = f"{many(clusters, 'group')} of identical or related pictures kept together, on one side of the split."
        yield Finding("good", "Duplicates were kept together", text)
    bad = data.get("bad", [])
    if bad:
        text = f"{many(len(bad), 'file')} could not be used; the first: “{bad[0]['id']}” ({bad[0]['reason']})."
        yield Finding("warn", "Files that were left out", text + " All are listed under The data.")
    notes = data.get("canvas_notes", {})
    if notes:
        words = [f"{note} ({many(int(times), 'picture')})" for note, times in notes.items()]
        yield Finding("note", "Pictures that were read with a remark", f"{_upper('; '.join(words))}.")
    counts = [number for number in data.get("counts", []) if number]
    if counts and max(counts) >= _UNEVEN * min(counts):
        text = f"The largest class has {count(max(counts))} pictures, the smallest {count(min(counts))}."
        yield Finding(
            "note", "Classes of very different size", f"{text} Look at the macro means, not only at accuracy."
        )
    if data.get("official") == "unverified":
        text = "A named data set whose files do not carry their owner's checksums."
        yield Finding("note", "The origin of the files is not verified", text)


def _of_training(material: Material) -> Iterator[Finding]:
    start = ((material.recipe or {}).get("recipe") or {}).get("start", "scratch")
    if material.past is not None:
        yield _of_past(material.past)
    elif start != "scratch":
        text = (
            f"It began from “{start}”, and this run did not look up what those have seen. Where the test pictures are "
            "among it, this score is better than new pictures would give."
        )
        yield Finding("warn", "The start weights may have seen these pictures", text)
    epochs, best, val, test = material.epochs, material.best_epoch, material.val, material.test
    if material.openings > 1:
        text = (
            f"It was opened {material.openings} times. Each look makes it a little less of a surprise, and its score "
            "a little less trustworthy, if anything was changed in between."
        )
        yield Finding("warn", "The test pictures were opened more than once", text)
    if best is not None and len(epochs) >= 4 and best <= 0.7 * len(epochs):
        text = f"Validation was best after epoch {best} of {len(epochs)}; those weights are the ones delivered."
        yield Finding("note", "Training longer did not help", text)
    if val is not None and test is not None:
        gap = val.accuracy - test.accuracy
        error = math.sqrt(sum(e.accuracy * (1 - e.accuracy) / e.n for e in (val, test)))
        if abs(gap) > max(0.01, 2.6 * error):
            side = "worse" if gap > 0 else "better"
            text = (
                f"{percent(test.accuracy)} on test, {percent(val.accuracy)} on validation: more than chance explains."
            )
            reason = " The test pictures may differ in kind from those for training."
            yield Finding("note", f"It does {side} on test than on validation", text + reason)
    waiting = [float(record["input_bound"]) for record in epochs if record.get("input_bound") is not None]
    if waiting and np.median(waiting) > 0.3:
        text = f"Training waited for pictures {round(100 * float(np.median(waiting)))}{THIN}% of its time."
        yield Finding("note", "Reading the pictures held training up", text)


def _of_past(past: dict[str, Any]) -> Finding:
    text = sentence(past)
    if past["contaminated"]["n"]:
        return Finding("warn", "The model has seen test pictures before", text)
    if past["unknown"]["n"]:
        return Finding("note", "Whether it has seen the test pictures is not known", text)
    return Finding("good", "The test pictures are new to it", text)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]

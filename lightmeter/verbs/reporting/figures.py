"""What is drawn: curves, confusion matrix, classes, reliability and abstaining; numbers to Figures, no global state."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from lightmeter.nouns.evaluation import Evaluation, wilson
from lightmeter.verbs.reporting.drawing import BLUE, INK, ORANGE, SOFT, Drawn, canvas, finish, plain_names, style
from lightmeter.verbs.reporting.words import short

LABELLED = 30
"""Classes up to which the confusion matrix names them and counts every cell."""

WORST, BEST = 15, 5
"""Classes that are drawn where there are more than LABELLED."""

_PERCENT = FuncFormatter(lambda value, _: f"{100 * value:g} %")
_STEPS = [1, 2, 5, 10]
_WIDTH = 390.0  # CSS pixels: of a phone, so that nothing shrinks there


def curves(epochs: list[dict[str, Any]], best: int | None) -> list[Drawn]:
    """Loss and accuracy over epochs for training and validation; learning rate and seconds of each epoch."""
    x = [float(record["epoch"]) for record in epochs]
    drawn = []
    for name, label in (("loss", "Loss"), ("accuracy", "Accuracy")):
        with style(name):
            figure = canvas(_WIDTH, 260)
            axes = figure.add_subplot()
            for part, colour, words in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
                y = [record.get(f"{part}/{name}") for record in epochs]
                points = [(a, float(b)) for a, b in zip(x, y, strict=True) if b is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), color=colour, label=words, **_marks(len(points)))
            if name == "accuracy":
                axes.yaxis.set_major_formatter(_PERCENT)
            axes.set_ylabel(name)
            _epochs_axis(axes, x)
            if best is not None and len(x) > 1:
                axes.axvline(best, color=SOFT, linewidth=1, linestyle=(0, (2, 3)), label="weights kept")
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
            figure.legend(loc="outside upper left", ncols=3, handlelength=1.2, columnspacing=1.2)
            drawn.append(finish(figure, name, f"{label} over epochs, for training and validation pictures."))
    with style("pace"):
        figure = canvas(_WIDTH, 300)
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(x, [float(record.get("lr", 0)) for record in epochs], color=BLUE, **_marks(len(x)))
        above.set_title("Learning rate at the end of each epoch", loc="left", color=SOFT)
        above.set_ylim(bottom=0)
        below.bar(x, [float(record.get("seconds", 0)) for record in epochs], color=BLUE, width=0.7)
        below.set_title("Seconds for each epoch", loc="left", color=SOFT)
        _epochs_axis(below, x)
        for axes in (above, below):
            axes.yaxis.set_major_locator(MaxNLocator(4, steps=_STEPS))
        drawn.append(finish(figure, "pace", "Learning rate and seconds for each epoch."))
    return drawn


def confusion(e: Evaluation) -> Drawn:
    """Rows are true classes, columns given names; blue is right, orange is wrong, stronger the larger its share."""
    k = len(e.classes)
    matrix = e.confusion
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    strength = np.where(np.eye(k, dtype=bool), share, np.sqrt(share))  # the root makes a rare mistake visible
    colours = np.zeros((k, k, 4))
    colours[...] = (*to_rgb(ORANGE), 0)
    colours[np.arange(k), np.arange(k), :3] = to_rgb(BLUE)
    colours[..., 3] = np.where(matrix > 0, 0.10 + 0.90 * strength, 0)
    with style("confusion"):
        if k > LABELLED:
            figure = canvas(_WIDTH, _WIDTH)
            axes = figure.add_subplot()
            axes.imshow(colours, interpolation="none")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(NullLocator())
            axes.set_xlabel(f"given name (the {k} classes, in order)")
            axes.set_ylabel("true class")
        else:
            figure = _labelled_matrix(e, matrix, strength, colours)
            axes = figure.axes[0]
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(True)
        return finish(figure, "confusion", "Confusion matrix: for each true class, how often it was given each name.")


def _labelled_matrix(e: Evaluation, matrix: NDArray[Any], strength: NDArray[Any], colours: NDArray[Any]) -> Figure:
    k = len(e.classes)
    names = [short(name, 16) for name in e.classes]
    upright = max(map(len, names)) <= 2 or (k <= 3 and max(map(len, names)) <= 12)
    cell = max(24.0, min(80.0, (_WIDTH - 90) / k))
    room = 34 + 6.6 * max(map(len, names))
    figure = canvas(room + k * cell, (50 if upright else room) + k * cell)
    axes = figure.add_subplot()
    axes.imshow(colours, interpolation="none")
    axes.set_xticks(range(k), names, rotation=0 if upright else 90, color=INK)
    axes.set_yticks(range(k), names, color=INK)
    axes.set_xlabel("given name")
    axes.set_ylabel("true class")
    plain_names(axes)
    for row, column in zip(*np.nonzero(matrix), strict=True):
        dense = strength[row, column] > 0.6
        axes.text(
            column,
            row,
            f"{matrix[row, column]}",
            ha="center",
            va="center",
            fontsize=min(11.0, cell * 0.75 / max(2, len(str(matrix[row, column])))) if k > 3 else 15,
            color="#ffffff" if dense else INK,
        )
    return figure


def reliability(e: Evaluation) -> Drawn:
    """Stated probability against the share that was right, with 95 % intervals, and how many pictures each bin has."""
    bins = e.reliability
    used = bins["count"] > 0
    x, y = bins["confidence"][used], bins["accuracy"][used]
    with style("reliability"):
        figure = canvas(_WIDTH, 370)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        above.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 3)), label="ideal")
        above.vlines(x, bins["low"][used], bins["high"][used], color=BLUE, linewidth=1.5, alpha=0.55)
        above.plot(x, y, "o", color=BLUE, markersize=6, clip_on=False, label="this model, 95 % intervals")
        above.set_ylabel("share that was right")
        above.set_ylim(-0.02, 1.02)
        below.bar(bins["edges"][:-1], bins["count"], width=np.diff(bins["edges"]) * 0.86, align="edge", color=BLUE)
        below.set_ylabel("pictures")
        below.set_xlabel("probability that the model stated")
        below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        below.set_xlim(0, 1)
        for axis in (above.xaxis, above.yaxis):
            axis.set_major_formatter(_PERCENT)
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.4, columnspacing=1.4)
        return finish(
            figure, "reliability", "Reliability diagram: stated probability against the share that was right."
        )


def abstaining(e: Evaluation, threshold: float | None) -> Drawn:
    """Share of answers that are right, against the share of pictures that get one, most certain first."""
    order = np.argsort(-e.confidence, kind="stable")
    right, answered = np.cumsum(e.correct[order]), np.arange(1, e.n + 1)
    kept = np.unique(np.linspace(max(1, e.n // 4), e.n, 200).astype(int)) - 1
    low, high = wilson(right[kept], answered[kept])
    x, y = answered[kept] / e.n, right[kept] / answered[kept]
    with style("abstaining"):
        figure = canvas(_WIDTH, 370)
        axes = figure.add_subplot()
        axes.fill_between(x, low, high, color=BLUE, alpha=0.16, linewidth=0, label="95 % interval")
        axes.plot(x, y, color=BLUE, label="right answers")
        if threshold is not None:
            inside = e.confidence >= threshold
            if inside.any():
                axes.plot(
                    inside.mean(), e.correct[inside].mean(), "o", color=ORANGE, markersize=8, label="as delivered"
                )
        axes.set_xlabel("share of pictures that get an answer")
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set_xlim(0.24, 1.01)
        axes.set_ylim(max(0.0, float(low.min()) - 0.01), 1.002)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.2, columnspacing=1.2)
        return finish(figure, "abstaining", "Share of right answers against the share of pictures that get an answer.")


def per_class(e: Evaluation) -> Drawn:
    """Recall of each class with its interval, worst first; of many classes the worst and the best."""
    rows = sorted(zip(e.classes, e.per_class, strict=True), key=lambda row: (row[1]["recall"], -row[1]["support"]))
    rows = [row for row in rows if row[1]["support"]]
    gap = len(rows) > LABELLED
    if gap:
        rows = rows[:WORST] + rows[-BEST:]
    places = np.arange(len(rows), dtype=float)
    if gap:
        places[WORST:] += 1
    columns = {name: np.array([row[name] for _, row in rows]) for name in ("recall", "low", "high", "precision")}
    with style("classes"):
        figure = canvas(_WIDTH, 74 + 24 * (float(places[-1]) + 1))
        axes = figure.add_subplot()
        axes.axvline(e.accuracy, color=SOFT, linewidth=1, linestyle=(0, (2, 3)), label="all classes")
        axes.hlines(places, columns["low"], columns["high"], color=BLUE, linewidth=5, alpha=0.28)
        axes.plot(
            columns["recall"], places, "o", color=BLUE, markersize=6.5, clip_on=False, label="recall, 95 % interval"
        )
        axes.plot(
            columns["precision"],
            places,
            "|",
            color=ORANGE,
            markersize=13,
            markeredgewidth=2,
            clip_on=False,
            label="precision",
        )
        if gap:
            axes.text(
                columns["low"].min(), WORST, f"… {len(e.classes) - WORST - BEST} between", color=SOFT, va="center"
            )
        axes.set_yticks(places, [short(name, 20) for name, _ in rows], color=INK)
        plain_names(axes)
        axes.set_ylim(float(places[-1]) + 0.7, -0.7)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        least = min(float(columns["low"].min()), float(columns["precision"].min()))
        axes.set_xlim(max(-0.01, np.floor(least * 20) / 20 - 0.01), 1.01)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        axes.xaxis.set_major_formatter(_PERCENT)
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.2, columnspacing=1.2)
        return finish(figure, "classes", "Recall with its 95 % interval, and precision, of each class.")


def _marks(points: int) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4} if points <= 24 else {}


def _epochs_axis(axes: Axes, x: list[float]) -> None:
    axes.set_xlabel("epoch")
    axes.set_xlim(min(x) - 0.6, max(x) + 0.6)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=_STEPS))

"""study.json -> its figures: accuracies with their intervals, curves of each arm, cost against accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from lightmeter.nouns.run import Run
from lightmeter.verbs.reporting.drawing import BLUE, INK, ORANGE, SOFT, Drawn, canvas, finish, plain_names, style
from lightmeter.verbs.reporting.words import THIN, duration, many, short

_WIDTH = 390.0  # CSS pixels: of a phone, so that nothing shrinks there
_WIDE = 12.0  # times the smallest cost from which on they are drawn on a logarithmic scale
_LINE = 11.0  # points: the height of a name in the cost figure
_PLACES = [
    (8.0, 0.0),
    (-8.0, 0.0),
    *((8.0 * side, _LINE * up) for up in (1, -1, 2, -2, 3, -3, 4, -4, 5) for side in (1, -1, 0)),
]
"""Where a name may stand, in points from what it names; the first that is free is taken."""
_PERCENT = FuncFormatter(lambda value, _: f"{100 * value:g} %")
_SECONDS = FuncFormatter(lambda value, _: duration(value).replace(THIN, " "))


def draw(document: dict[str, Any], folder: Path) -> dict[str, Drawn]:
    """Every figure of a study's page, by name; a curve for each arm is "curve-<place of the arm>"."""
    done = [arm for arm in document["arms"] if "accuracy" in arm]
    if not done:
        return {}
    drawn = [_bars(done), _cost(done, document["knee"])]
    for place, arm in enumerate(document["arms"]):
        runs = [Run(folder / seed["run"]).epochs() for seed in arm["seeds"] if "run" in seed]
        if runs and max(len(epochs) for epochs in runs) > 1:
            drawn.append(_curve(f"curve-{place}", arm["name"], runs))
    for place, (name, table) in enumerate(document["rows"].items()):
        if len(table["rows"]) > 1:
            drawn.append(_rows(f"rows-{place}", name, table))
    return {figure.name: figure for figure in drawn}


def _bars(arms: list[dict[str, Any]]) -> Drawn:
    """Test accuracy of each arm with its interval; what it does on its own training pictures; what was published."""
    with style("accuracies"):
        figure = canvas(_WIDTH, 92 + 30 * len(arms))
        axes = figure.add_subplot()
        places = range(len(arms))
        for place, arm in zip(places, arms, strict=True):
            found = arm["accuracy"]
            colour = BLUE if arm["role"] == "ours" else INK
            axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=6, alpha=0.3)
        kinds = (
            ("training", SOFT, "o", "none", [arm["fit"] for arm in arms]),
            ("test", INK, "o", INK, [arm["accuracy"]["mean"] if arm["role"] != "ours" else None for arm in arms]),
            (
                "test, ours",
                BLUE,
                "o",
                BLUE,
                [arm["accuracy"]["mean"] if arm["role"] == "ours" else None for arm in arms],
            ),
            ("published", ORANGE, "D", ORANGE, [arm["published"] for arm in arms]),
        )
        for words, colour, marker, face, values in kinds:
            points = [(value, place) for place, value in zip(places, values, strict=True) if value is not None]
            if points:
                size = 6 if marker == "D" else 7
                style_of: Any = {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": size}
                axes.plot(*zip(*points, strict=True), linestyle="none", label=words, **style_of)
        axes.set_yticks(list(places), [short(arm["name"], 22) for arm in arms])
        plain_names(axes)
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(False, axis="y")
        figure.legend(loc="outside upper left", ncols=4, handletextpad=0.1, columnspacing=0.9)
        return finish(figure, "accuracies", "Test accuracy of each arm with its 95 % interval.")


def _cost(arms: list[dict[str, Any]], knee: dict[str, Any] | None) -> Drawn:
    """Seconds of training against test accuracy, with the knee of the curve where there is one."""
    with style("cost"):
        figure = canvas(_WIDTH, 300)
        axes = figure.add_subplot()
        costs = [max(arm["cost"]["seconds"], 1e-3) for arm in arms]
        if max(costs) > _WIDE * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
            axes.xaxis.set_minor_locator(NullLocator())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        for arm in arms:
            x, y = max(arm["cost"]["seconds"], 1e-3), arm["accuracy"]
            colour = BLUE if arm["role"] == "ours" else INK
            axes.plot([x, x], [y["low"], y["high"]], color=colour, linewidth=4, alpha=0.3)
            axes.plot([x], [y["mean"]], marker="o", markersize=6, color=colour)
            if knee is not None and arm["name"] == knee["name"]:
                ring: Any = {"markerfacecolor": "none", "markersize": 16, "markeredgewidth": 1.6}
                axes.plot(
                    [x], [y["mean"]], marker="o", color=ORANGE, label="more stops paying", linestyle="none", **ring
                )
        axes.margins(x=0.18, y=0.12)
        axes.xaxis.set_major_formatter(_SECONDS)
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set_xlabel("training time of one seed")
        axes.set_ylabel("test accuracy")
        if knee is not None:
            figure.legend(loc="outside upper left", handletextpad=0.6)
        _name_points(axes, arms)
        return finish(figure, "cost", "Training time against test accuracy of each arm.")


def _name_points(axes: Axes, arms: list[dict[str, Any]]) -> None:
    """A name beside each point, as near as it can stand without meeting a point, another name or the edge.

    To be called when everything else is drawn, as it depends on where that came to lie.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    points = [(max(arm["cost"]["seconds"], 1e-3), arm["accuracy"]["mean"]) for arm in arms]
    shown = axes.transData.transform(points)
    inside = axes.get_window_extent()
    dot = 4 * figure.dpi / 72  # half of a point's width
    taken = [Bbox.from_bounds(x - dot, y - dot, 2 * dot, 2 * dot) for x, y in shown]
    for arm, point in zip(arms, points, strict=True):
        tries = [
            axes.annotate(
                short(arm["name"], 16),
                point,
                xytext=(across, up),
                textcoords="offset points",
                ha="center" if not across else "left" if across > 0 else "right",
                va="center",
                fontsize=9.5,
                color=SOFT,
                parse_math=False,
                arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6} if abs(up) > _LINE else None,
            )
            for across, up in _PLACES
        ]
        for name in tries:
            name.set_in_layout(False)  # or names that are only tried would shift the axes
        figure.draw_without_rendering()  # which is when a name learns where it stands
        boxes = [Text.get_window_extent(name) for name in tries]
        free = [
            place
            for place, box in enumerate(boxes)
            if inside.x0 <= box.x0
            and box.x1 <= inside.x1
            and inside.y0 <= box.y0
            and box.y1 <= inside.y1
            and not any(box.overlaps(other) for other in taken)
        ]
        chosen = free[0] if free else 0
        for place, name in enumerate(tries):
            if place != chosen:
                name.remove()
        taken.append(boxes[chosen])


def _curve(name: str, arm: str, runs: list[list[dict[str, Any]]]) -> Drawn:
    """Accuracy over epochs on training and validation pictures, a line for each seed."""
    with style(name):
        figure = canvas(_WIDTH, 230)
        axes = figure.add_subplot()
        for part, colour, words in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
            for number, epochs in enumerate(runs):
                x = [record["epoch"] for record in epochs]
                y = [record[f"{part}/accuracy"] for record in epochs]
                axes.plot(
                    x,
                    y,
                    color=colour,
                    linewidth=1.6,
                    alpha=1 if number == 0 else 0.45,
                    label=words if number == 0 else None,
                )
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("epoch")
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.2)
        return finish(figure, name, f"Accuracy of {arm} over epochs, for training and validation pictures.")


def _rows(name: str, arm: str, table: dict[str, Any]) -> Drawn:
    """Accuracy over seconds along one run, and where more epochs stop paying."""
    with style(name):
        figure = canvas(_WIDTH, 230)
        axes = figure.add_subplot()
        rows = table["rows"]
        x = [row["seconds"] for row in rows]
        for part, colour, words in (("train", BLUE, "training"), ("val", ORANGE, "validation")):
            axes.plot(x, [row[part] for row in rows], color=colour, marker="o", markersize=4, label=words)
        stop = next(row["seconds"] for row in rows if many(row["epoch"], "epoch") == table["knee"]["name"])
        axes.axvline(stop, color=SOFT, linewidth=1, linestyle=(0, (2, 3)), label="more stops paying")
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(_SECONDS)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel("training time")
        figure.legend(loc="outside upper left", ncols=3, handlelength=1.2, columnspacing=1.0)
        return finish(figure, name, f"Accuracy of {arm} over training time.")

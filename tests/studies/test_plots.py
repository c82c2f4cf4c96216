from __future__ import annotations

import itertools

from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from lightmeter.studies.plots import _name_points


def test_names_of_points_that_lie_together_meet_neither_each_other_nor_the_edge() -> None:
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    places = [(10.0, 0.5), (10.1, 0.5), (10.2, 0.51), (10.1, 0.49), (10.0, 0.51), (30.0, 0.9)]
    arms = [
        {"name": f"an arm called {number}", "cost": {"seconds": x}, "accuracy": {"mean": y}}
        for number, (x, y) in enumerate(places)
    ]
    axes.plot(*zip(*places, strict=True), "o")
    axes.margins(0.2)
    _name_points(axes, arms)
    names = [part for part in axes.get_children() if isinstance(part, Annotation)]
    assert len(names) == len(arms)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(name) for name in names]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)

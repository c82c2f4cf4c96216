"""How every figure looks, and a matplotlib Figure to an inline SVG that follows the page's light or dark colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, SOFT, LINE = "#1f2733", "#667085", "#d6dbe3"
BLUE, ORANGE = "#0b66b5", "#c4500c"
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", BLUE: "blue", ORANGE: "orange"}
"""Colours of the figures (told apart by every kind of colour vision) and the page's variables that replace them."""

UNIT = 72  # points in an inch: sizes here are in the units of the SVG, about one CSS pixel

_STYLE: Any = {  # keyed by a Literal of every setting there is
    "font.family": ["DejaVu Sans"],  # comes with matplotlib; the page puts its own font in its place
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 11,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.linewidth": 1.0,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 5,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # text stays text: any script, selectable, in the reader's font
}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished figure.

    Attributes:
        name: of its PNG file, and the prefix of the ids inside its SVG.
        caption: what it shows, for those who cannot see it.
        svg: an element to put into a page.
        png: the same on white.
        width: in CSS pixels, at which its text has the size of the page's small print.
    """

    name: str
    caption: str
    svg: str
    png: bytes
    width: float


@contextmanager
def style(name: str) -> Iterator[None]:
    """Figures made and drawn inside look like ours; the process's own settings come back afterwards."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # A class may be named in a script that the fonts here lack; only the PNG shows boxes then, the page does not.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def canvas(width: float, height: float) -> Figure:
    """An empty figure of that many CSS pixels, without any global state behind it."""
    figure = Figure(figsize=(width / UNIT, height / UNIT), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def finish(figure: Figure, name: str, caption: str) -> Drawn:
    """Draw it as SVG for the page and as PNG for the plots folder."""
    vector, pixels = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(pixels, format="png", dpi=2.5 * UNIT, facecolor="white")
    return Drawn(name, caption, _inline(vector.getvalue(), name), pixels.getvalue(), figure.get_figwidth() * UNIT)


def plain_names(axes: Axes) -> None:
    """Keep class names such as "$5 bill$" from being read as formulas."""
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)


def _inline(document: str, name: str) -> str:
    """The <svg> element alone: scalable, with ids of its own, the page's colours and the page's font."""
    text = document[document.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    assert box is not None
    rest = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", rest)
    rest = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{name}-\1"', rest)
    rest = rest.replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        rest = rest.replace(f": {colour}", f": var(--{variable})")
    rest = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", rest)
    rest = re.sub(r"\n\s*", "\n", rest)
    return f'<svg viewBox="{box[1]}" aria-hidden="true" focusable="false">{rest.strip()}'

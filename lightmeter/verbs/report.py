"""report: a run folder to one self-contained HTML page that a stranger can read, and its plots as PNG files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightmeter.nouns.files import write_atomic
from lightmeter.verbs.reporting.material import Material

if TYPE_CHECKING:
    from lightmeter.nouns.pack import Pack


def report(run_path: Path, *, pack: Pack | None = None) -> Path:
    """Write `report.html` and `plots/*.png` into a run folder; returns the page's path.

    Every number is worked out from the run's documents, and its evaluations above all; nothing is scored. What an
    unfinished run lacks is said in its place.

    Args:
        run_path: the run folder.
        pack: where the run's pictures are; without it the galleries are a sentence.

    Raises:
        FormatError: no run folder, or a document in it that is broken or of a newer format.
        StorageError: the page cannot be written.
    """
    from lightmeter.verbs.reporting.page import context, draw, render  # matplotlib takes a second to import

    material = Material.read(run_path)
    drawn = draw(material)
    for figure in drawn.values():
        write_atomic(run_path / "plots" / f"{figure.name}.png", figure.png)
    path = run_path / "report.html"
    write_atomic(path, render("report.html.j2", context(material, drawn, pack)).encode("utf-8", "replace"))
    return path

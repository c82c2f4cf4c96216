"""report: a run folder to one self-contained HTML page that a stranger can read, and several to a comparing page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightmeter.errors import UsageError
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


def report_several(run_paths: Sequence[Path], out: Path) -> Path:
    """Write one page that compares runs picture by picture and links the report of each; returns `out`.

    Args:
        run_paths: two or more run folders; those that were not tested are listed as such.
        out: the HTML file to write; links in it are relative to where it stands.

    Raises:
        UsageError: fewer than two different runs.
        FormatError: no run folder, or a document in one that is broken or of a newer format.
        StorageError: the page cannot be written.
    """
    from lightmeter.verbs.reporting.page import render
    from lightmeter.verbs.reporting.several import context

    if len({path.resolve() for path in run_paths}) != len(run_paths) or len(run_paths) < 2:
        raise UsageError(f"{len(run_paths)} runs were given to compare.", "two or more different run folders")
    materials = [Material.read(path) for path in run_paths]
    write_atomic(out, render("several.html.j2", context(materials, out)).encode("utf-8", "replace"))
    return out

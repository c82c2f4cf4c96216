"""What a source may be told, and the one signature that every source has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress

OnBad = Literal["error", "quarantine"]


@dataclass(frozen=True)
class SourceOptions:
    """What a source may be told; each source uses what concerns it.

    Attributes:
        name: name for the Dataset; "" takes the location's.
        path_column, label_column, group_column, split_column: of a table; "" looks for a usual name.
        on_bad: whether files that are missing or unreadable are an error, or listed in `Dataset.bad`.
        cache: where the index of known files is kept.
        progress: told when many files are hashed.
    """

    name: str = ""
    path_column: str = ""
    label_column: str = ""
    group_column: str = ""
    split_column: str = ""
    on_bad: OnBad = "error"
    cache: Path = field(default_factory=cache_folder)
    progress: Progress = SILENT


Load = Callable[[Path | None, SourceOptions], Dataset]
"""Every source is a function from a location (None where it needs none) and options to a Dataset."""

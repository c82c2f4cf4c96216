"""A Request: what a training was asked for, as it is kept in its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypedDict

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightmeter.errors import UsageError
from lightmeter.sources import OnBad

DEFAULT_BUDGET = 600.0
"""Seconds, where neither a budget nor a number of epochs is given."""


class TrainOptions(TypedDict, total=False):
    """What `train` takes beyond its source; see `Request` for each."""

    budget: float | None
    epochs: float | None
    recipe: str
    start: str | Path | None
    freeze: tuple[str, ...]
    settings: dict[str, str]
    seed: int
    out: Path | None
    on_bad: OnBad
    allow_leak: bool
    class_names: Path | None
    path_column: str
    label_column: str
    group_column: str
    split_column: str


class Request(BaseModel):
    """What was asked for, kept in the run so that it can be resumed.

    Attributes:
        source: folder, table or named data set.
        budget: seconds, from process start to the last file written.
        epochs: instead of, or within, the budget.
        recipe: a name in `RECIPES`, or "auto".
        start: weights to start from: a .safetensors file, a run, a bundle or a name; see `open_start`.
        freeze: blocks not to train, or ("all",).
        settings: `{"optimizer.lr": "0.1"}`, laid over the recipe.
        seed: of every draw: the split, the first weights, the order of the pictures.
        on_bad: "error" or "quarantine".
        allow_leak: record test pictures that stand in train instead of refusing them.
        class_names: a file that renames classes; see `open_source`.
        path_column, label_column, group_column, split_column: of a table, where they are not called so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    budget: float | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    recipe: str = "auto"
    start: str | None = None
    freeze: tuple[str, ...] = ()
    settings: dict[str, str] = {}
    seed: int = Field(default=0, ge=0)
    on_bad: OnBad = "error"
    allow_leak: bool = False
    class_names: Path | None = None
    path_column: str = ""
    label_column: str = ""
    group_column: str = ""
    split_column: str = ""

    @staticmethod
    def parse(values: dict[str, Any]) -> Request:
        """Read a request. Raises UsageError that names each wrong option."""
        try:
            return Request.model_validate(values)
        except ValidationError as error:
            issues = [(issue["loc"][0], issue) for issue in error.errors()]
            raise UsageError(
                "Options that cannot be used: " + "; ".join(f"{name} = {one['input']!r}" for name, one in issues) + ".",
                "; ".join(f"{name}: {one['msg'].removeprefix('Input should be ')}" for name, one in issues),
            ) from error

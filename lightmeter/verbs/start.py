"""start: what `--start` names -> a file of weights, the model that reads it, its canvas, and which pictures it saw."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from lightmeter.errors import FormatError, WeightsError
from lightmeter.nouns.bundle import CARD, WEIGHTS, Bundle
from lightmeter.nouns.places import data_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import ModelChoice, Recipe
from lightmeter.nouns.run import Run
from lightmeter.verbs.published import PUBLISHED

SUFFIX = ".safetensors"
NOTE = "lightmeter"
"""Under which a file of weights keeps its `Note`, in the strings of its header."""


class Note(BaseModel):
    """What a file of weights says of itself.

    Attributes:
        model: the architecture that reads it.
        seen: names of the pictures that it learned from: those of `PUBLISHED`, fingerprints of data sets.
        source: where it came from.
        licence: under which terms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: ModelChoice | None = None
    seen: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Weights to start from.

    Attributes:
        path: of the .safetensors file.
        identity: "<name>@<first 16 digits of the file's sha256>", which a recipe calls them by.
        model: the architecture that reads them; None where nothing says it but the names of the tensors.
        preprocess: the canvas that they were trained on, where that was one of ours.
        seen: names of the pictures that they learned from; empty where nobody knows.
    """

    path: Path
    identity: str
    model: ModelChoice | None
    preprocess: Preprocess | None
    seen: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """As plain JSON values, without the canvas."""
        model = None if self.model is None else self.model.model_dump(mode="json")
        return {"path": str(self.path), "identity": self.identity, "model": model, "seen": list(self.seen)}


def open_start(text: str, *, builder: str = "") -> Start:
    """What `text` names: a .safetensors file, a run, a bundle, or weights in the data folder by their name.

    Args:
        text: a path, or a name in `PUBLISHED` or of another file in the `weights` folder of the data folder.
        builder: the "package.module:function" that may be imported to build the model. A file, run or bundle that
            names one itself is refused without it, as it could name anything.

    Raises:
        WeightsError: nothing of that name, or published weights that were not fetched yet. Nothing is downloaded.
        FormatError, BundleError: a run or bundle that cannot be read.
    """
    path = Path(text)
    if (path / CARD).is_file():
        start = _of_bundle(path)
    elif path.is_dir():
        start = _of_run(path)
    elif path.suffix and (path.exists() or path.suffix == SUFFIX or path.name != text):
        start = _of_file(path)
    else:
        start = _of_name(text)
    name = "" if start.model is None else start.model.name
    if ":" in name and not name.startswith("timm:") and name != builder:
        raise WeightsError(
            f"{text} says that its model is built by {name}, which is code of its maker.",
            "a model of Lightmeter or of timm",
            f"where you know that code and trust it, say so with --set model.name={name}.",
        )
    return start


def weights_folder() -> Path:
    """Where fetched and imported weights lie."""
    return data_folder() / "weights"


def provenance(run: Run, recipe: Recipe, summary: dict[str, Any]) -> dict[str, Any]:
    """What a bundle says of its making: the data, the weights it started from, its model, and what it has seen.

    Args:
        run: whose `start.json`, if any, says what its start weights had seen.
        recipe: that was run.
        summary: of the Dataset, as in `data.json`.
    """
    before = run.read("start")["seen"] if run.has("start") else []
    return {
        **{name: summary[name] for name in ("name", "n", "source", "official", "fingerprint")},
        "start": recipe.start,
        "model": recipe.model.model_dump(mode="json"),
        "seen": [*dict.fromkeys([*before, summary["fingerprint"]])],
    }


def _of_file(path: Path) -> Start:
    note = read_note(path)
    digest = _sha256(path)
    entry = next((one for one in PUBLISHED.values() if one.checksum == f"sha256:{digest}"), None)
    model = note.model or (None if entry is None else entry.model)
    seen = note.seen or (() if entry is None else entry.seen)
    return Start(path, f"{path.stem}@{digest[:16]}", model, None, seen)


def _of_name(text: str) -> Start:
    folder = weights_folder()
    path = folder / f"{text}{SUFFIX}"
    if path.name == f"{text}{SUFFIX}" and path.is_file():
        return _of_file(path)
    if text in PUBLISHED:
        fetch = f"lightmeter weights fetch {text}"
        raise WeightsError(
            f"The weights {text} are not on this machine.",
            f"{path}",
            f"`{fetch}`." if PUBLISHED[text].address else f"`{fetch} --from FILE`, as they have no address.",
        )
    there = sorted(file.stem for file in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    raise WeightsError(
        f"There are no weights {text!r} to start from.",
        f"a {SUFFIX} file, a run, a bundle, or a name: " + ", ".join(dict.fromkeys([*there, *PUBLISHED])),
        "`lightmeter weights list` shows what can be fetched; `lightmeter weights import` reads other formats.",
    )


def _of_run(path: Path) -> Start:
    run = Run.open(path)
    if not run.weights.is_file():
        raise WeightsError(
            f"{path} holds a run without weights.", "one that finished its training", "go on with it by --resume."
        )
    recipe = run.recipe
    before = run.read("start")["seen"] if run.has("start") else []
    seen = tuple(dict.fromkeys([*before, run.read("data")["fingerprint"]]))
    return _ours(run.weights, path.resolve().name, recipe.model, recipe.preprocess, seen)


def _of_bundle(path: Path) -> Start:
    bundle = Bundle.open(path)
    resolved = path.resolve()
    name = resolved.parent.name if resolved.name == "model.bundle" else resolved.name.removesuffix(".bundle")
    told, model = bundle.provenance, None
    try:
        if told.get("model") is not None:
            model = ModelChoice.model_validate(told["model"])
    except ValidationError as error:
        raise FormatError(
            f"{path} names no model that can be built ({error}).", "a bundle that Lightmeter wrote"
        ) from error
    known = told.get("seen", [told["fingerprint"]] if told.get("fingerprint") else [])
    return _ours(path / WEIGHTS, name, model, bundle.preprocess, tuple(map(str, known)))


def _ours(path: Path, name: str, model: ModelChoice | None, preprocess: Preprocess, seen: tuple[str, ...]) -> Start:
    return Start(path, f"{name}@{_sha256(path)[:16]}", model, preprocess, seen)


def read_note(path: Path) -> Note:
    """What a file of weights says of itself; an empty Note where it says nothing.

    Raises:
        WeightsError: not a whole .safetensors file.
        FormatError: a note that this version cannot read.
    """
    if path.suffix != SUFFIX:
        raise WeightsError(
            f"{path.name} is not a {SUFFIX} file.",
            f"a {SUFFIX} file: other formats can carry code that runs when they are read",
            f"`lightmeter weights import {path}` reads PyTorch's and Keras' files without running any.",
        )
    if not path.is_file():
        raise WeightsError(f"There is no file {path}.", f"an existing {SUFFIX} file")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(NOTE)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error}).", f"a whole {SUFFIX} file") from error
    if text is None:
        return Note()
    try:
        return Note.model_validate(json.loads(text))
    except ValueError as error:  # of JSON and of pydantic alike
        raise FormatError(
            f"What {path.name} says of itself cannot be read ({error}).",
            "the note of a file that `lightmeter weights import` wrote, of format 1",
            "import the original file again.",
        ) from error


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

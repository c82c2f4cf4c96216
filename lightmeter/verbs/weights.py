"""weights fetch, weights import: trained weights of others -> a safetensors file in the data folder, to start from.

`fetch` and `data fetch` are the only places where Lightmeter opens a connection.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.errors import SourceError, StorageError, UsageError, WeightsError
from lightmeter.nouns.files import storage_errors, write_atomic
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.recipe import ModelChoice
from lightmeter.verbs.download import download
from lightmeter.verbs.published import PUBLISHED, Published, known
from lightmeter.verbs.start import NOTE, SUFFIX, Note, Start, open_start, weights_folder

_TORCH = (".pth", ".pt", ".bin")
_KERAS = (".h5", ".hdf5")


@dataclass(frozen=True, slots=True)
class Imported:
    """Where imported weights lie, and what became of them on the way."""

    start: Start
    tensors: int
    notes: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """What `lightmeter weights import --json` prints."""
        return {**self.start.document(), "tensors": self.tensors, "notes": list(self.notes)}


def fetch(
    name: str,
    *,
    source_path: Path | None = None,
    destination: Path | None = None,
    address: str = "",
    progress: Progress = SILENT,
) -> Path:
    """Put published weights into the data folder as a .safetensors file, and return its path.

    The file appears whole or not at all, and only where its checksum is the published one. One that is there already
    is left as it is.

    Args:
        name: one of `PUBLISHED`.
        source_path: the owner's file, to copy from instead of connecting.
        destination: folder, instead of `weights_folder()`.
        address: of a folder to download from instead of the owner's (a mirror; ends in a slash).

    Raises:
        UsageError: no such name; no address is known; or it is there already and `source_path` would replace it.
        SourceError: no connection, or another checksum.
        WeightsError: a file that cannot be read.
        StorageError: the folder cannot be written.
    """
    if name not in PUBLISHED:
        raise UsageError(f"There are no published weights {name!r}.", "one of " + ", ".join(PUBLISHED))
    entry, folder = PUBLISHED[name], destination or weights_folder()
    target = folder / f"{name}{SUFFIX}"
    if target.is_file():
        if source_path is not None and source_path.resolve() != target.resolve():
            raise UsageError(f"{target} is there already.", "no such file yet", "remove it first to replace it.")
        progress.say(f"{name} is in {target} already.")
        return target
    if source_path is None and not entry.address:
        raise UsageError(
            f"The weights {name} have no address.",
            "a copy of their file",
            f"`lightmeter weights fetch {name} --from FILE`.",
        )
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=".part", dir=folder))
    try:
        if source_path is None:
            file = entry.address.rsplit("/", 1)[1]
            path = download(address + file if address else entry.address, scratch / file, progress=progress)
        else:
            path = source_path
        _check(entry, path)
        if path.suffix == SUFFIX:  # one of ours as it is: its own checksum goes on naming it
            with storage_errors(target):
                shutil.copyfile(path, scratch / "whole")
                (scratch / "whole").replace(target)
        else:
            import_weights(path, model=entry.model.name, out=target, entry=entry, progress=progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    progress.say(f"{name}: {entry.origin}, in {target}.")
    progress.say(f"Licence: {entry.licence}.")
    return target


def import_weights(
    path: Path,
    *,
    model: str = "",
    out: Path | None = None,
    seen: tuple[str, ...] = (),
    entry: Published | None = None,
    progress: Progress = SILENT,
) -> Imported:
    """Read weights of others and write them as a .safetensors file under our names.

    Args:
        path: a PyTorch state dict (.pth, .pt, .bin), which is read without running anything in it; Keras' .h5 without
            its head; or a .safetensors file under other names.
        model: the architecture, as in `MODELS`, or "timm:<name>"; "" recognises it.
        out: the file to write; by default in `weights_folder()`, under the name of `path`.
        seen: names of the pictures that they learned from, for files that are not in `PUBLISHED`.
        entry: of `PUBLISHED` that it is; by default it is known by its checksum.

    Raises:
        UsageError: an ending that is not known.
        WeightsError: a file that needs code to be read, or does not fit any architecture here.
        StorageError: `out` is there already, or cannot be written.
    """
    if not path.is_file():
        raise WeightsError(f"There is no file {path}.", "a file of trained weights")
    target = out or weights_folder() / f"{path.stem}{SUFFIX}"
    if target.suffix != SUFFIX:
        raise UsageError(f"{target} does not end in {SUFFIX}.", f"a file to write that ends in {SUFFIX}")
    if target.exists():
        raise StorageError(f"{target} is there already.", "no such file yet", "give another --out, or remove it first.")
    entry = entry or known(path)

    from safetensors.torch import save

    foreign = _read(path, model, entry)
    note = Note(
        model=foreign.model,
        seen=seen or (() if entry is None else entry.seen),
        source=path.name if entry is None else f"{entry.origin}: {path.name}",
        licence="" if entry is None else entry.licence,
    )
    write_atomic(target, save(foreign.tensors, {"format": "pt", NOTE: note.model_dump_json()}))
    for sentence in foreign.notes:
        progress.say(sentence)
    if not note.seen:
        progress.say("Nothing says which pictures these weights have seen: no test on them can be called clean.")
    return Imported(open_start(str(target), builder=foreign.model.name), len(foreign.tensors), foreign.notes)


def _read(path: Path, model: str, entry: Published | None) -> Any:
    from lightmeter.models import foreign

    suffix = path.suffix.lower()
    if suffix in _KERAS:
        from lightmeter.models import keras_h5

        return keras_h5.translate(keras_h5.read_keras(path), model, origin=path.name)
    if suffix in _TORCH:
        tensors = foreign.read_torch(path)
    elif suffix == SUFFIX:
        tensors = foreign.read_safetensors(path)
    else:
        raise UsageError(
            f"{path.name} cannot be imported.", f"a file that ends in {', '.join((*_TORCH, *_KERAS, SUFFIX))}"
        )
    choice = ModelChoice(name=model) if model else None
    if entry is not None and model in ("", entry.model.name):
        choice = entry.model
    elif choice is not None:
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        choice = (None if ":" in model else foreign.recognise(shapes, only=model)) or choice
    return foreign.translate(tensors, choice, origin=path.name)


def _check(entry: Published, path: Path) -> None:
    if not path.is_file():
        raise SourceError(f"There is no file {path}.", "the file as its owner publishes it")
    if not entry.matches(path):
        raise SourceError(
            f"{path.name} does not have the published checksum.",
            f"{entry.checksum}, of {entry.address or 'that file'}",
            "try again later; or read a copy that you trust with `lightmeter weights import`.",
        )

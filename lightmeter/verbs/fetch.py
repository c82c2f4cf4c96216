"""A named data set onto this machine: from its owner's address, or from a copy that is already here.

This and `weights fetch` are the only places where Lightmeter opens a connection.
"""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path

from lightmeter.errors import SourceError, UsageError
from lightmeter.nouns.files import atomic_folder
from lightmeter.nouns.places import data_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.sources import SOURCES, SourceOptions
from lightmeter.sources.named import NAMED, NamedSet, md5, write_record
from lightmeter.sources.opening import LAYOUTS
from lightmeter.verbs.archives import is_archive, unpack
from lightmeter.verbs.download import download


def fetch(
    name: str,
    *,
    source_path: Path | None = None,
    destination: Path | None = None,
    address: str = "",
    progress: Progress = SILENT,
) -> Path:
    """Put a named data set into the data folder, and return the folder that it got there.

    The folder appears whole or not at all. A record beside the data says whether their checksums were the known
    ones; a copy of unknown origin is accepted and marked unverified. What is there already is left as it is.

    Args:
        name: one of `NAMED`.
        source_path: a folder in the owner's layout, or the owner's archive (or a folder that holds the published
            files), to copy from instead of connecting.
        destination: instead of `data_folder()`.
        address: where to download from instead of the owner's address (a mirror; ends in a slash).

    Raises:
        UsageError: no such name, or the data are there already and `source_path` would replace them.
        SourceError: no connection, a wrong checksum, an unsafe archive, or a copy in another layout.
        StorageError: the data folder cannot be written.
    """
    if name == "digits":
        raise UsageError("digits is installed with scikit-learn.", "a set to fetch: " + ", ".join(NAMED))
    if name not in NAMED:
        raise UsageError(f"There is no named data set {name!r}.", "one of " + ", ".join(NAMED))
    named = NAMED[name]
    folder = (destination or data_folder()) / name
    if folder.is_dir() and any(folder.iterdir()):
        if source_path is not None and source_path.resolve() != folder.resolve():
            raise UsageError(f"{folder} is there already.", "no such folder yet", "remove it first to replace it.")
        progress.say(f"{name} is in {folder} already.")
        return folder
    with atomic_folder(folder) as fresh:
        if source_path is None:
            verified, note = _from_owner(named, fresh, address, progress)
        else:
            verified, note = _from_copy(named, source_path, fresh, progress)
        options = SourceOptions(name=name, cache=fresh / ".scans", progress=progress)
        dataset = SOURCES[named.source](fresh, options)  # what cannot be opened must not be kept
        shutil.rmtree(options.cache, ignore_errors=True)
        write_record(fresh, name, dataset, verified=verified, note=note)
    progress.say(f"{name}: {len(dataset)} images of {len(dataset.classes)} classes in {folder} ({note}).")
    progress.say(f"Terms: {named.terms}.")
    return folder


def _from_owner(named: NamedSet, fresh: Path, address: str, progress: Progress) -> tuple[bool, str]:
    scratch = fresh / ".download"
    for published in named.files:
        source = address + published.name if address else published.address
        path = download(source, scratch / published.name, progress=progress)
        found = md5(path)
        if found != published.md5:
            raise SourceError(
                f"{source} has the md5 {found}.",
                f"{published.md5}, {named.sums}",
                "try again later; or take a copy that you trust with `--from`, which is then marked unverified.",
            )
        _place(path, fresh / published.name, progress)
    shutil.rmtree(scratch)
    return True, f"downloaded, md5 {named.sums}"


def _from_copy(named: NamedSet, source_path: Path, fresh: Path, progress: Progress) -> tuple[bool, str]:
    if not source_path.exists():
        raise SourceError(f"{source_path} does not exist.", "a folder in the owner's layout, or the owner's archive")
    layout = LAYOUTS[named.source]
    names = ", ".join(published.name for published in named.files)
    if source_path.is_file():
        if len(named.files) > 1:
            raise SourceError(f"{source_path} is one file.", f"a folder that holds {names}")
        paths = [source_path]
    else:
        paths = [source_path / published.name for published in named.files]
    if all(path.is_file() for path in paths):
        verified = all(md5(path) == published.md5 for path, published in zip(paths, named.files, strict=True))
        for path, published in zip(paths, named.files, strict=True):
            _place(path, fresh / published.name, progress)
        return verified, f"copied, md5 {'' if verified else 'not '}{named.sums}"
    root = layout.find(source_path)
    if root is None:
        raise SourceError(f"{source_path} does not hold this set.", f"its owner's layout, or the published {names}")
    _copy_folder(root, layout.published, fresh, progress)
    return False, "copied from a folder, so that the owner's archive could not be compared"


def _place(path: Path, target: Path, progress: Progress) -> None:
    """Unpack an archive beside `target`, or copy any other file to it."""
    if is_archive(path):
        unpack(path, target.parent, progress=progress)
    else:
        shutil.copyfile(path, target)


def _copy_folder(root: Path, published: tuple[str, ...], fresh: Path, progress: Progress) -> None:
    """Copy what belongs to the set, and nothing else that happens to lie beside it."""
    wanted = [path for path in sorted(root.iterdir()) if any(fnmatch(path.name, pattern) for pattern in published)]
    files = [file for path in wanted for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    files = [file for file in files if file.is_file() and not file.name.startswith(".")]
    with progress.track("Copying", len(files), "files") as advance:
        for file in files:
            target = fresh / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            advance(1)

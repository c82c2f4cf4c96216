"""Folders of files: which images are there, and the sha256 of each, remembered between starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lightmeter.errors import SourceError, StorageError
from lightmeter.nouns.dataset import Bad
from lightmeter.nouns.files import write_atomic
from lightmeter.sources.options import SourceOptions

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "bmp", "dib", "gif", "webp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "avif", "heic", "heif", "jp2"),
    )
)
"""What counts as an image by its name. Some of these may fail to decode; then they are listed, not overlooked."""

FORMAT = 1
_FRESH_NS = 2_000_000_000  # a file changed this shortly before the scan may change again within one clock tick
_CHUNK = 256


class Entry(NamedTuple):
    """A file: its path below the root with forward slashes, and the signs by which a change is seen."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Listing:
    """What lies below a folder.

    Attributes:
        images: sorted by path.
        others: how many other files there are per suffix; hidden ones are not counted.
        folders: every folder below the root, by path.
    """

    images: list[Entry]
    others: Counter[str] = field(default_factory=Counter)
    folders: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FileReader:
    """id -> the bytes of the file of that path below the root."""

    root: str

    def __call__(self, id: str) -> bytes:
        """Read one item."""
        with open(os.path.join(self.root, id), "rb") as stream:
            return stream.read()


def walk(root: Path, skip: Iterable[str] = ()) -> Listing:
    """List the images below `root`, through links but not in circles, without hidden files.

    Raises:
        SourceError: a folder that cannot be read, or a file name that is not UTF-8.
    """
    listing = Listing([])
    pending = [""]
    visited = {os.path.realpath(root)}
    skipped = set(skip)
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder if folder else root) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and (path := f"{folder}{entry.name}") not in skipped:
                        _sort_in(entry, path, listing, pending, visited)
        except OSError as error:
            raise SourceError(f"{root / folder} could not be read: {error.strerror}.") from error
    listing.images.sort(key=lambda entry: entry.path)
    listing.folders.sort()
    return listing


def _sort_in(entry: os.DirEntry[str], path: str, listing: Listing, pending: list[str], visited: set[str]) -> None:
    if entry.is_dir():
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if target in visited:
                return
            visited.add(target)
        listing.folders.append(path)
        pending.append(path + "/")
        return
    _, dot, ending = entry.name.rpartition(".")
    suffix = dot + ending.lower() if dot else ""
    if suffix not in IMAGE_SUFFIXES:
        listing.others[suffix or "no suffix"] += 1
        return
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path)
        raise SourceError(f"The file name {shown!r} is not UTF-8.", "names in UTF-8", "rename the file.") from None
    try:
        status = entry.stat()
        listing.images.append(Entry(path, status.st_size, status.st_mtime_ns))
    except OSError:  # a link to nowhere: hashing it will say so
        listing.images.append(Entry(path, -1, -1))


def hashes(root: Path, entries: Sequence[Entry], options: SourceOptions) -> tuple[dict[str, str], tuple[Bad, ...]]:
    """The sha256 (hex) of each file by its path, and the files that could not be read.

    A file whose size and time of change are those of the last scan is not read again.

    Raises:
        SourceError: a file could not be read, unless `options.on_bad` is "quarantine".
    """
    index_path = options.cache / "scans" / (hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32] + ".json")
    known = _read_index(index_path)
    started = time.time_ns()
    found: dict[str, str] = {}
    unknown = []
    for entry in entries:
        remembered = known.get(entry.path)
        if remembered and remembered[0] == entry.size and remembered[1] == entry.mtime_ns:
            found[entry.path] = remembered[2]
        else:
            unknown.append(entry)
    bad: list[Bad] = []
    if unknown:
        with options.progress.track("Reading files", len(unknown), "files") as advance:
            chunks = [unknown[start : start + _CHUNK] for start in range(0, len(unknown), _CHUNK)]
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                for chunk in pool.map(lambda part: [_hash(root, entry) for entry in part], chunks):
                    for path, digest, reason in chunk:
                        if reason:
                            bad.append(Bad(path, reason))
                        else:
                            found[path] = digest
                    advance(len(chunk))
        settled: dict[str, list[Any]] = {
            entry.path: [entry.size, entry.mtime_ns, found[entry.path]]
            for entry in entries
            if entry.path in found and entry.mtime_ns < started - _FRESH_NS
        }
        _write_index(index_path, {**known, **settled})
    return found, report(bad, options)


def report(bad: Sequence[Bad], options: SourceOptions) -> tuple[Bad, ...]:
    """The bad files, or an error that lists them, as the options say."""
    if bad and options.on_bad == "error":
        shown = [f"  {entry.id}: {entry.reason}" for entry in bad[:20]]
        if len(bad) > 20:
            shown.append(f"  and {len(bad) - 20} more")
        raise SourceError(
            f"{len(bad)} file{'s' if len(bad) > 1 else ''} cannot be used:\n" + "\n".join(shown),
            fix="mend or remove them, or leave them out with `--on-bad quarantine`.",
        )
    return tuple(bad)


def _hash(root: Path, entry: Entry) -> tuple[str, str, str]:
    try:
        with open(os.path.join(root, entry.path), "rb") as stream:
            return entry.path, hashlib.sha256(stream.read()).hexdigest(), ""
    except OSError as error:
        return entry.path, "", (error.strerror or str(error)).lower()


def _read_index(path: Path) -> dict[str, list[Any]]:
    # The index only saves time: whatever is wrong with it, it is built again.
    try:
        checksum, _, text = path.read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest() != checksum.decode():
            return {}
        document = json.loads(text)
        return dict(document["files"]) if document["format"] == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write_index(path: Path, files: dict[str, list[Any]]) -> None:
    text = json.dumps({"format": FORMAT, "files": files}, separators=(",", ":")).encode()
    with contextlib.suppress(StorageError):
        write_atomic(path, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)

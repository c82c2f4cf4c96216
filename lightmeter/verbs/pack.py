"""pack: Dataset and Preprocess -> Pack. Every picture is decoded once; what is up to date is used again."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import PIL

from lightmeter.errors import BadImageError, DataError, FormatError, StorageError
from lightmeter.nouns.dataset import Bad, Dataset
from lightmeter.nouns.files import storage_errors
from lightmeter.nouns.pack import CANVASES, DOCUMENT, FORMAT, HASHES, IDS, LABELS, Pack, header, lines
from lightmeter.nouns.preprocess import RULES, Preprocess
from lightmeter.nouns.progress import SILENT, Progress

WORKERS = os.cpu_count() or 1
CHUNK_BYTES = 2 << 20
CHUNK_IMAGES = 512
STALE_SECONDS = 24 * 3600
LISTED = 20
"""How many bad files an error names; the rest is counted."""


def pack(
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    cache: Path,
    on_bad: Literal["error", "quarantine"] = "error",
    progress: Progress = SILENT,
    workers: int = WORKERS,
) -> Pack:
    """Decode every picture of a Dataset into `cache`/packs, or open the Pack that is already there.

    The Pack is the same whatever `on_bad` and `workers` are: `on_bad` only says whether bad pictures are an error,
    so that a second run with "quarantine" need not decode again. It is written row by row, never held in memory, in
    a folder of its own that gets its name when complete; `dataset.read` is called from several threads.

    Raises:
        DataError: pictures that cannot be used, with their reasons, and on_bad is "error"; or none can be used.
        StorageError: it cannot be written, or the disk has too little room (found before any work is done).
    """
    path = cache / "packs" / f"{dataset.fingerprint[:16]}-{preprocess.key()[:16]}"
    result = _current(path, dataset, preprocess)
    if result is None:
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent)
            _check_room(path.parent, dataset, preprocess)
            temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
            try:
                _build(temporary, dataset, preprocess, progress, workers)
                built = Pack.open(temporary)  # before it can be seen: a neighbour may replace it at any time
                _publish(temporary, path, lambda: _current(path, dataset, preprocess) is not None)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        result = _current(path, dataset, preprocess) or replace(built, path=path)
    if result.bad and (on_bad == "error" or not len(result)):
        raise _bad_error(result.bad, len(dataset))
    return result


def _current(path: Path, dataset: Dataset, preprocess: Preprocess) -> Pack | None:
    """The Pack at `path` if it is whole and made from just this, by these rules and this decoder."""
    try:
        found = Pack.open(path)
    except FormatError:
        return None
    made_by = (found.document.get("rules"), found.document.get("pillow"), found.document.get("final"))
    same = found.dataset_fingerprint == dataset.fingerprint and found.preprocess == preprocess
    return found if same and made_by == (RULES, PIL.__version__, True) else None


@dataclass(slots=True)
class _Part:
    """What one chunk of items became."""

    count: int
    rows: list[int]
    pixels: list[bytes]
    hashes: list[str]
    bad: list[Bad]
    unreadable: int
    notes: list[str]


def _build(folder: Path, dataset: Dataset, preprocess: Preprocess, progress: Progress, workers: int) -> None:
    rows: list[int] = []
    hashes: list[str] = []
    bad: list[Bad] = []
    notes: Counter[str] = Counter()
    unreadable = 0
    with open(folder / CANVASES, "wb") as stream, progress.track("decoding", len(dataset), "images") as advance:
        # Plain writes, not a writable memory map: on a full disk the one is an error, the other kills the process.
        length = stream.write(_header(len(dataset), preprocess))
        for part in _parts(dataset, preprocess, workers):
            stream.writelines(part.pixels)
            rows += part.rows
            hashes += part.hashes
            bad += part.bad
            notes.update(part.notes)
            unreadable += part.unreadable
            advance(part.count)
        stream.seek(0)
        assert stream.write(_header(len(rows), preprocess)) == length, "the header's length must not hang on N"
        stream.flush()
        os.fsync(stream.fileno())
    np.save(folder / LABELS, dataset.labels[rows] if rows else np.zeros(0, np.int64), allow_pickle=False)
    (folder / IDS).write_bytes(lines(dataset.ids[row] for row in rows))
    (folder / HASHES).write_bytes(lines(hashes))
    document = {
        "format": FORMAT,
        "n": len(rows),
        "dataset": dataset.fingerprint,
        "preprocess": preprocess.model_dump(mode="json"),
        "rules": RULES,
        "pillow": PIL.__version__,
        # a file that could not be read may be readable the next time, with equal fingerprints: then look again
        "final": unreadable == 0,
        "files": {name: (folder / name).stat().st_size for name in (CANVASES, LABELS, IDS, HASHES)},
        "notes": dict(sorted(notes.items())),
        "bad": [{"id": entry.id, "reason": entry.reason} for entry in bad],
    }
    (folder / DOCUMENT).write_text(json.dumps(document, indent=1), encoding="utf-8")


def _parts(dataset: Dataset, preprocess: Preprocess, workers: int) -> Iterator[_Part]:
    """Chunks in the Dataset's order, decoded by threads (Pillow lets them run side by side), few at a time."""
    canvas_bytes = preprocess.size**2 * preprocess.channels
    step = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // canvas_bytes))
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pack")
    pending: deque[Future[_Part]] = deque()
    try:
        for start in range(0, len(dataset), step):
            pending.append(pool.submit(_decode, dataset, preprocess, range(start, min(start + step, len(dataset)))))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(dataset: Dataset, preprocess: Preprocess, rows: range) -> _Part:
    part = _Part(len(rows), [], [], [], [], 0, [])
    for row in rows:
        id = dataset.ids[row]
        try:
            data = dataset.read(id)
        except OSError as error:
            part.bad.append(Bad(id, f"it cannot be read ({error.strerror or error})"))
            part.unreadable += 1
            continue
        except BadImageError as error:
            part.bad.append(Bad(id, error.received))
            continue
        try:
            canvas = preprocess.canvas(data)
        except BadImageError as error:
            part.bad.append(Bad(id, error.received))
            continue
        pixels = canvas.pixels.tobytes()
        part.rows.append(row)
        part.pixels.append(pixels)
        part.hashes.append(hashlib.blake2b(pixels, digest_size=16).hexdigest())
        part.notes += canvas.notes
    return part


def _header(n: int, preprocess: Preprocess) -> bytes:
    return header(np.dtype(np.uint8), (n, preprocess.size, preprocess.size, preprocess.channels))


def _publish(temporary: Path, path: Path, is_current: Callable[[], bool]) -> None:
    """Give the finished folder its name. Another process may do the same now: whoever is first, both have a Pack."""
    temporary.chmod(0o755)  # mkdtemp makes it private
    while True:
        try:
            os.rename(temporary, path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if is_current():
            return
        retired = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
        with contextlib.suppress(FileNotFoundError):  # another process retired it first
            os.rename(path, retired)
        shutil.rmtree(retired, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind: unfinished folders that nothing has written to for a day."""
    before = time.time() - STALE_SECONDS
    for left in [*folder.glob(".*.part"), *folder.glob(".*.old")]:
        with contextlib.suppress(OSError):  # its owner may finish it at this moment
            if max(entry.stat().st_mtime for entry in [left, *left.iterdir()]) < before:
                shutil.rmtree(left, ignore_errors=True)


def _check_room(folder: Path, dataset: Dataset, preprocess: Preprocess) -> None:
    needed = len(dataset) * (preprocess.size**2 * preprocess.channels + 8 + 33) + sum(map(len, dataset.ids)) + 65536
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder} has {free / 2**20:,.0f} MiB free; the decoded pictures need {needed / 2**20:,.0f} MiB.",
            fix="free some space, choose a smaller size, or set LIGHTMETER_CACHE to a folder on a larger disk.",
        )


def _bad_error(bad: tuple[Bad, ...], total: int) -> DataError:
    shown = [f"  {entry.id}: {entry.reason}" for entry in bad[:LISTED]]
    if len(bad) > LISTED:
        shown.append(f"  ... and {len(bad) - LISTED} more")
    if len(bad) == total:
        return DataError("\n".join([f"None of the {total} pictures can be used:", *shown]), "at least one picture")
    return DataError(
        "\n".join([f"{len(bad)} of {total} pictures cannot be used:", *shown]),
        "pictures that can be decoded, every one",
        "mend or remove them, or leave them out (each is listed in the run) with --on-bad quarantine.",
    )

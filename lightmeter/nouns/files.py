"""Writing files so that each is whole or absent, and reading our JSON documents with their format checked."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightmeter.errors import FormatError, StorageError

_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, or choose another place with --out or LIGHTMETER_CACHE"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another place with --out"),
    errno.EACCES: ("permission was denied", "choose a folder that you may write to, for instance with --out"),
    errno.EPERM: ("permission was denied", "choose a folder that you may write to, for instance with --out"),
    errno.EROFS: ("the file system is read-only", "choose a folder that you may write to, for instance with --out"),
    errno.EFBIG: ("the file grew beyond the size allowed", "raise the limit (ulimit -f), or choose another place"),
    errno.ENOTDIR: ("a part of the path is a file", "choose a folder, for instance with --out"),
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError met while writing `path` into a StorageError that says what to do."""
    try:
        yield
    except OSError as error:
        known = _REASONS.get(error.errno or 0)
        if known is None:
            raise StorageError(
                f"{path} could not be written: {error.strerror or error}.", fix="name a folder that can be written."
            ) from error
        raise StorageError(f"{path} could not be written: {known[0]}.", fix=known[1] + ".") from error


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path` so that a reader sees the old file or the whole new one, never a part.

    Raises:
        StorageError: the disk is full, the folder is read-only, or the like; nothing is left behind.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh sibling folder that becomes `path` (replacing it) when the block ends well, else vanishes."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)  # mkdtemp makes it private; the finished folder is an ordinary one
            if path.exists():
                retired = temporary.with_suffix(".old")
                os.replace(path, retired)
                os.replace(temporary, path)
                shutil.rmtree(retired, ignore_errors=True)
            else:
                os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def append_line(path: Path, line: str) -> None:
    """Append one line in a single write, and hand it to the disk."""
    with storage_errors(path), open(path, "ab") as stream:
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document, indented, NaN refused, atomically."""
    write_atomic(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, *, kind: str, newest: int) -> dict[str, Any]:
    """Read a document written with `{"format": <number>, ...}` and check that we know its format.

    Args:
        kind: what the document is, for the error ("run", "bundle", "split", ...).
        newest: the highest format number that this version reads.

    Raises:
        FormatError: not JSON, no format number, or one newer than we know.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FormatError(f"{path} does not exist.", f"a {kind} written by Lightmeter") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{path} is not readable JSON ({error}).", f"a {kind} written by Lightmeter") from error
    number = document.get("format") if isinstance(document, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise FormatError(f"{path} carries no format number.", f"a {kind} written by Lightmeter")
    if not 1 <= number <= newest:
        raise FormatError(
            f"{path} is a {kind} of format {number}.",
            f"format 1 to {newest}, which this version reads",
            "upgrade Lightmeter (pip install --upgrade lightmeter); `lightmeter doctor` shows your version.",
        )
    checked: dict[str, Any] = document
    return checked

"""An archive to files in a folder, and to nothing outside it: plain files only, with limits on number and size."""

from __future__ import annotations

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from lightmeter.errors import SourceError
from lightmeter.nouns.files import storage_errors
from lightmeter.nouns.progress import SILENT, Progress

MAX_FILES = 2_000_000
MAX_BYTES = 16 << 30

_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
)

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name; a lone .gz is not, and stays as it is."""
    return path.name.lower().endswith(_SUFFIXES)


def unpack(path: Path, folder: Path, *, progress: Progress = SILENT) -> None:
    """Unpack a tar or zip archive into a folder that exists.

    Raises:
        SourceError: not readable, or with a member that leads outside the folder, is a link or a device, or is
            one too many. Files unpacked before it was met are left to the caller to remove.
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        try:
            if path.name.lower().endswith(".zip"):
                _unpack_zip(path, folder, progress)
            else:
                _unpack_tar(path, folder, progress)
        except _BROKEN as error:
            raise SourceError(
                f"{path.name} is not a readable archive: {error}.", "a whole tar or zip archive"
            ) from error


def _unpack_tar(path: Path, folder: Path, progress: Progress) -> None:
    with (
        open(path, "rb") as stream,
        progress.track(f"Unpacking {path.name}", path.stat().st_size, "bytes") as advance,
        tarfile.open(fileobj=stream) as archive,
    ):
        limits = _Limits(path)
        before = 0
        for member in archive:
            if not member.isdir():
                limits.add(member.name, member.size, plain=member.isreg())
                try:
                    archive.extract(member, folder, filter="data")
                except tarfile.FilterError as error:
                    raise limits.refusal(member.name, "leads outside") from error
            advance(stream.tell() - before)
            before = stream.tell()


def _unpack_zip(path: Path, folder: Path, progress: Progress) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        limits = _Limits(path)
        for member in members:  # all of them before the first is written
            name = PurePosixPath(member.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in member.filename:
                raise limits.refusal(member.filename, "leads outside")
            if member.flag_bits & 1:
                raise limits.refusal(member.filename, "is encrypted")
            if not member.is_dir():
                mode = stat.S_IFMT(member.external_attr >> 16)
                limits.add(member.filename, member.file_size, plain=mode in (0, stat.S_IFREG))
        total = sum(member.compress_size for member in members)
        with progress.track(f"Unpacking {path.name}", total, "bytes") as advance:
            for member in members:
                archive.extract(member, folder)
                advance(member.compress_size)


class _Limits:
    """Counts what an archive claims to hold, and refuses what no data set needs."""

    def __init__(self, path: Path) -> None:
        self.path, self.files, self.bytes = path, 0, 0

    def add(self, name: str, size: int, *, plain: bool) -> None:
        """Count one member."""
        if not plain:
            raise self.refusal(name, "is a link or a device")
        self.files += 1
        self.bytes += size
        if self.files > MAX_FILES or self.bytes > MAX_BYTES:
            raise self.refusal(name, f"goes beyond {MAX_FILES} files or {MAX_BYTES >> 30} GiB")

    def refusal(self, name: str, why: str) -> SourceError:
        """The error for one member."""
        return SourceError(f"{self.path.name} is not unpacked: its member {name!r} {why}.", "plain files inside it")

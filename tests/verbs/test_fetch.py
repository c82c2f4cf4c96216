"""Fetching for real: from a server on this machine, from folders and from archives."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lightmeter.errors import SourceError, UsageError
from lightmeter.nouns.places import data_folder
from lightmeter.nouns.progress import Advance
from lightmeter.sources import named, open_source
from lightmeter.verbs import archives
from lightmeter.verbs import fetch as fetch_module
from lightmeter.verbs.download import download
from lightmeter.verbs.fetch import fetch

Serve = Callable[[dict[str, bytes]], str]


class Recorder:
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        self.said: list[str] = []

    @contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        counts = self.counts[f"{title} {unit}"] = [total, 0]

        def advance(count: int, total: int | None = None) -> None:
            counts[1] += count

        yield advance

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTMETER_DATA", str(tmp_path / "data"))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve({"a.tgz": bytes}) -> the address that they lie below; "-> ADDRESS" as content redirects there."""
    servers = []

    def start(files: dict[str, bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = files.get(self.path.lstrip("/"))
                if content is None:
                    self.send_error(404)
                elif content.startswith(b"-> "):
                    self.send_response(302)
                    self.send_header("Location", content[3:].decode())
                    self.end_headers()
                else:
                    short = content.startswith(b"short")
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content) + 100 * short))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def cifar_files() -> dict[str, bytes]:
    record = bytes([1]) + bytes(3072) + bytes([0]) + bytes([9]) * 3072
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {f"cifar-10-batches-bin/{name}": record for name in names}
    return {**files, "cifar-10-batches-bin/batches.meta.txt": b"airplane\nautomobile\n"}


def tar(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def publish(monkeypatch: pytest.MonkeyPatch, name: str, **contents: bytes) -> None:
    """Make these bytes what the owner is known to publish (the originals are too large to be made here)."""
    known = named.NAMED[name]
    files = tuple(replace(file, md5=hashlib.md5(contents[file.name]).hexdigest()) for file in known.files)
    monkeypatch.setitem(named.NAMED, name, replace(known, files=files))


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_what_the_owner_publishes_is_fetched_and_verified(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(cifar_files())
    publish(monkeypatch, "cifar10", **{"cifar-10-binary.tar.gz": archive})
    progress = Recorder()
    folder = fetch("cifar10", address=serve({"cifar-10-binary.tar.gz": archive}), progress=progress)
    assert folder == data_folder() / "cifar10"
    assert sorted(os.listdir(folder)) == ["cifar-10-batches-bin", "lightmeter.json"]
    assert progress.counts["Downloading cifar-10-binary.tar.gz bytes"] == [len(archive), len(archive)]
    dataset = open_source("cifar10")
    assert len(dataset) == 12
    assert dataset.provenance.official == "verified"
    assert any("Terms" in text for text in progress.said)


def test_files_changed_after_the_fetch_are_not_called_verified(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(cifar_files())
    publish(monkeypatch, "cifar10", **{"cifar-10-binary.tar.gz": archive})
    folder = fetch("cifar10", address=serve({"cifar-10-binary.tar.gz": archive}))
    batch = folder / "cifar-10-batches-bin" / "test_batch.bin"
    batch.write_bytes(batch.read_bytes()[:-1] + b"\x08")
    provenance = open_source("cifar10").provenance
    assert provenance.official == "unverified"
    assert "its files have changed since they were fetched" in provenance.notes


def test_files_with_the_published_checksums_need_no_record(
    idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(data_folder() / "fashion-mnist", idx_files)
    assert open_source("fashion-mnist").provenance.official == "unverified"
    publish(monkeypatch, "fashion-mnist", **idx_files)
    assert open_source("fashion-mnist").provenance.official == "verified"


@pytest.fixture
def idx_files() -> dict[str, bytes]:
    import gzip

    files = {}
    for stem, n in (("train", 4), ("t10k", 2)):
        images = bytes([0, 0, 8, 3]) + np.array([n, 2, 2], ">u4").tobytes() + bytes(range(4 * n))
        labels = bytes([0, 0, 8, 1]) + np.array([n], ">u4").tobytes() + bytes(row % 2 for row in range(n))
        files[f"{stem}-images-idx3-ubyte.gz"] = gzip.compress(images)
        files[f"{stem}-labels-idx1-ubyte.gz"] = gzip.compress(labels)
    return files


def test_several_published_files(serve: Serve, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, "fashion-mnist", **idx_files)
    folder = fetch("fashion-mnist", address=serve(idx_files))
    assert sorted(os.listdir(folder)) == sorted([*idx_files, "lightmeter.json"])
    assert open_source("fashion-mnist").provenance.official == "verified"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"something else", r"has the md5 .*(.|\n)*c32a1d4ab5d03f1284b67883e8d87530(.|\n)*--from"),
        (b"short", "ended after|IncompleteRead|could not be fetched"),
        (b"-> http://example.invalid/x", "example.invalid/x is not fetched"),
        (b"-> file:///etc/passwd", "could not be fetched|is not fetched|answered 302"),
        (None, "answered 404"),
    ],
)
def test_a_failed_download_leaves_nothing(serve: Serve, content: bytes | None, message: str) -> None:
    address = serve({} if content is None else {"cifar-10-binary.tar.gz": content})
    with pytest.raises((SourceError, UsageError), match=message):
        fetch("cifar10", address=address)
    assert not any(data_folder().iterdir())


def test_no_connection_points_to_from() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
    with pytest.raises(SourceError, match=r"could not be fetched(.|\n)*--from DIR"):
        fetch("cifar10", address=address)


@pytest.mark.parametrize("address", ["http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_only_https_is_spoken(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not fetched"):
        download(address, tmp_path / "x")


@pytest.mark.parametrize("content", [bytes(2000), b"short" + bytes(950)])
def test_a_download_has_a_limit(serve: Serve, tmp_path: Path, content: bytes) -> None:
    address = serve({"x": content})
    with pytest.raises(SourceError, match=r"has (2000|1055) bytes"):
        download(address + "x", tmp_path / "x", limit=1000)
    assert not (tmp_path / "x").exists()


def test_a_copy_in_the_owners_layout_is_accepted_and_marked(tmp_path: Path) -> None:
    source = write(tmp_path / "downloads", {**cifar_files(), "holiday.jpg": b"mine", "cifar-10-batches-bin/.x": b""})
    folder = fetch("cifar10", source_path=source)
    assert not (folder / "holiday.jpg").exists()
    assert len(os.listdir(folder)) == 8  # seven files and the record
    provenance = open_source("cifar10").provenance
    assert provenance.official == "unverified"
    assert any("copied from a folder" in note for note in provenance.notes)
    assert (source / "holiday.jpg").read_bytes() == b"mine"


@pytest.mark.parametrize("as_folder", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_the_owners_archive_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_folder: bool, known: bool
) -> None:
    archive = tar(cifar_files())
    if known:
        publish(monkeypatch, "cifar10", **{"cifar-10-binary.tar.gz": archive})
    path = write(tmp_path / "downloads", {"cifar-10-binary.tar.gz": archive}) / "cifar-10-binary.tar.gz"
    fetch("cifar10", source_path=path.parent if as_folder else path)
    assert open_source("cifar10").provenance.official == ("verified" if known else "unverified")


def test_a_zip_with_folders(tmp_path: Path) -> None:
    root = "tiny-imagenet-200"
    files = {f"{root}/train/n{c}/images/n{c}_{i}.JPEG": b"%d%d" % (c, i) for c in (1, 2) for i in range(2)}
    files |= {f"{root}/val/images/val_0.JPEG": b"v", f"{root}/val/val_annotations.txt": b"val_0.JPEG\tn1\n"}
    files |= {f"{root}/wnids.txt": b"n1\nn2\n", f"{root}/words.txt": b"n1\tone\nn2\ttwo\n"}
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    fetch("tiny-imagenet", source_path=tmp_path / "tiny-imagenet-200.zip")
    assert open_source("tiny-imagenet").classes == ("one", "two")


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    source = write(tmp_path / "downloads", cifar_files())
    folder = fetch("cifar10", source_path=source)
    before = (folder / "lightmeter.json").stat().st_mtime_ns
    assert fetch("cifar10") == folder  # no connection is tried
    assert (folder / "lightmeter.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="is there already"):
        fetch("cifar10", source_path=source)


def test_a_copy_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    files = cifar_files()
    files["cifar-10-batches-bin/data_batch_3.bin"] = b"cut"
    with pytest.raises(SourceError, match="data_batch_3"):
        fetch("cifar10", source_path=write(tmp_path / "broken", files))
    with pytest.raises(SourceError, match="does not hold this set"):
        fetch("cifar10", source_path=write(tmp_path / "other", {"a.txt": b""}))
    with pytest.raises(SourceError, match="does not exist"):
        fetch("cifar10", source_path=tmp_path / "none")
    assert not any(data_folder().iterdir())


@pytest.mark.parametrize(("name", "message"), [("cifar11", "no named data set"), ("digits", "installed with")])
def test_a_name_that_cannot_be_fetched(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fetch(name)


def hostile_tar(kind: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        member = tarfile.TarInfo({"up": "../evil", "absolute": "/tmp/evil"}.get(kind, "inside"))
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        elif kind == "inner link":
            member.type, member.linkname = tarfile.SYMTYPE, "elsewhere"
        elif kind == "hard link":
            member.type, member.linkname = tarfile.LNKTYPE, "/etc/passwd"
        elif kind == "device":
            member.type = tarfile.CHRTYPE
        archive.addfile(member, io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["up", "absolute", "link", "inner link", "hard link", "device"])
def test_a_hostile_tar_writes_nothing_outside(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, {"a.tar.gz": hostile_tar(kind)}) / "a.tar.gz"
    folder = tmp_path / "in"
    folder.mkdir()
    if kind == "absolute":  # the slash is dropped, as tar itself does
        archives.unpack(path, folder)
        assert (folder / "tmp" / "evil").exists()
    else:
        with pytest.raises(SourceError, match="is not unpacked"):
            archives.unpack(path, folder)
        assert os.listdir(folder) == []
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "in"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:\\evil", "..\\evil"])
def test_a_hostile_zip_writes_nothing(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good.txt", "")
        archive.writestr(zipfile.ZipInfo(name), "")
    (tmp_path / "in").mkdir()
    with pytest.raises(SourceError, match="leads outside"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "in")
    assert os.listdir(tmp_path / "in") == []


def test_an_archive_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    write(tmp_path, {"a.tgz": tar({"1": b"", "2": b"", "3": b""})})
    with pytest.raises(SourceError, match="goes beyond 2 files"):
        archives.unpack(tmp_path / "a.tgz", tmp_path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
@pytest.mark.parametrize("damage", ["rubbish", "cut"])
def test_a_broken_archive_is_named(tmp_path: Path, name: str, damage: str) -> None:
    whole = tar({"x": os.urandom(50_000)})
    write(tmp_path, {name: whole[:30_000] if damage == "cut" else b"rubbish"})
    with pytest.raises(SourceError, match="not a readable archive"):
        archives.unpack(tmp_path / name, tmp_path)


def test_nothing_but_download_imports_the_network() -> None:
    assert "urllib" not in Path(fetch_module.__file__).read_text()

"""What a Pack refuses to open; how it is made is tested with its verb."""

from __future__ import annotations

import ast
import ctypes
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmeter.errors import DataError, FormatError
from lightmeter.nouns.pack import Pack, _lines, lines
from lightmeter.nouns.preprocess import Preprocess


def written(folder: Path, **changes: object) -> Path:
    """A pack of two canvases, written out by hand as the format says."""
    folder.mkdir()
    np.save(folder / "canvases.npy", np.arange(2 * 8 * 8, dtype=np.uint8).reshape(2, 8, 8, 1))
    np.save(folder / "labels.npy", np.array([1, 0], np.int64))
    (folder / "ids.txt").write_bytes(b"a/1\0b\n2")
    (folder / "hashes.txt").write_bytes(b"x\0y")
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    document = {
        "format": 1,
        "n": 2,
        "dataset": "d",
        "preprocess": Preprocess(size=8, channels=1).model_dump(mode="json"),
        "files": files,
        "notes": {"animated: first frame": 1},
        "bad": [{"id": "c", "reason": "the file is empty"}],
    }
    (folder / "pack.json").write_text(json.dumps(document | changes))
    return folder


def forgotten(path: Path) -> bool:
    """Have the system drop a file's pages from memory; whether they are gone, but for those read to open it."""
    if not hasattr(os, "posix_fadvise"):
        return False
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return not resident(np.load(path, mmap_mode="r"))[64:].any()


def resident(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pages of a mapped array are in memory."""
    mapped = pixels._mmap  # type: ignore[attr-defined]
    first = pixels.ctypes.data - pixels.ctypes.data % mmap.PAGESIZE
    answer = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(first), ctypes.c_size_t(len(mapped)), answer) == 0
    return (np.frombuffer(answer, np.uint8) & 1).astype(bool)


def in_memory(pack: Pack) -> NDArray[np.bool_]:
    """For each canvas of one page whether both pages that it lies on are in memory."""
    pages = resident(pack.pixels)
    return pages[: len(pack)] & pages[1 : len(pack) + 1]


def test_a_pack_opens_as_it_was_written(tmp_path: Path) -> None:
    pack = Pack.open(written(tmp_path / "pack"))
    assert pack.ids == ("a/1", "b\n2") and pack.pixel_hashes == ("x", "y") and len(pack) == 2
    assert pack.rows(["b\n2", "a/1", "b\n2"]).tolist() == [1, 0, 1] and pack.rows([]).dtype == np.int64
    assert pack.bad[0].reason == "the file is empty" and pack.notes == {"animated: first frame": 1}
    assert pack.pixels[1, 0, 0, 0] == 64 and not pack.pixels.flags.writeable
    with pytest.raises(DataError, match="Of 1 pictures 1 cannot"):
        pack.rows(["c"])


def test_opening_asks_no_parser_that_threads_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own, by which numpy.load reads a header, fails now and then in threads (cpython issue 106905)."""
    folder = written(tmp_path / "pack")

    def refuse(*args: object, **options: object) -> None:
        raise SystemError("AST constructor recursion depth mismatch")

    monkeypatch.setattr(ast, "literal_eval", refuse)
    with pytest.raises(SystemError):
        np.load(folder / "labels.npy")
    assert Pack.open(folder).labels.tolist() == [1, 0]


def test_rows_asked_for_come_into_memory_and_no_others(tmp_path: Path) -> None:
    folder, n, side = tmp_path / "pack", 4096, 64  # canvases of a page each, so that every one counts for itself
    folder.mkdir()
    np.save(folder / "canvases.npy", np.zeros((n, side, side, 1), np.uint8))
    np.save(folder / "labels.npy", np.zeros(n, np.int64))
    (folder / "ids.txt").write_bytes(lines(str(row) for row in range(n)))
    (folder / "hashes.txt").write_bytes(lines("x" for _ in range(n)))
    files = {file.name: file.stat().st_size for file in folder.iterdir()}
    told = {"format": 1, "n": n, "dataset": "d", "files": files, "notes": {}, "bad": []}
    told["preprocess"] = Preprocess(size=side, channels=1).model_dump(mode="json")
    (folder / "pack.json").write_text(json.dumps(told))
    if not forgotten(folder / "canvases.npy"):
        pytest.skip("this system keeps files in memory (or has no advice on them)")

    pack = Pack.open(folder)
    rows = np.arange(100, n, 200)
    assert not in_memory(pack)[rows].any()
    pack.soon(rows)
    deadline = time.monotonic() + 30
    while not in_memory(pack)[rows].all() and time.monotonic() < deadline:
        time.sleep(0.01)
    here = in_memory(pack)
    assert here[rows].all() and here.sum() < 4 * len(rows)
    alone = 2_150  # far from what was asked for; the system would bring what lies around it along
    assert not here[alone]
    assert not pack.pixels[alone].any()  # all of it is touched
    assert in_memory(pack)[alone] and in_memory(pack).sum() < here.sum() + 8


def test_rows_of_canvases_in_memory_need_no_asking(tmp_path: Path) -> None:
    pack = Pack.open(written(tmp_path / "pack"))
    replace(pack, pixels=np.array(pack.pixels)).soon(np.array([0, 1]))
    pack.soon(np.array([], np.int64))
    pack.soon(np.array([1, 0]))
    assert pack.pixels[1, 0, 0, 0] == 64


def test_a_number_from_the_future_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="upgrade Lightmeter"):
        Pack.open(written(tmp_path / "pack", format=2))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: np.save(folder / "canvases.npy", np.zeros((2, 8, 8, 3), np.uint8)),
        lambda folder: np.save(folder / "labels.npy", np.zeros(2, np.int32)),
        lambda folder: np.save(folder / "labels.npy", np.array([{}, 1], object), allow_pickle=True),
        lambda folder: (folder / "ids.txt").write_bytes(b"only one"),
        lambda folder: (folder / "hashes.txt").unlink(),
        lambda folder: (folder / "canvases.npy").write_bytes(b""),
        shutil.rmtree,
    ],
)
@pytest.mark.parametrize("sizes", [True, False])
def test_what_is_not_whole_is_refused(tmp_path: Path, damage: Callable[[Path], object], sizes: bool) -> None:
    """Also where the sizes that were written down happen to fit."""
    folder = written(tmp_path / "pack")
    damage(folder)
    if sizes and folder.exists():
        document = json.loads((folder / "pack.json").read_text())
        document["files"] = {file.name: file.stat().st_size for file in folder.iterdir() if file.suffix != ".json"}
        (folder / "pack.json").write_text(json.dumps(document))
    with pytest.raises(FormatError):
        Pack.open(folder)


@pytest.mark.parametrize("texts", [(), ("a",), ("a", "b"), ("with\nline", "größe", "\udcff not utf-8")])
def test_texts_come_back(tmp_path: Path, texts: tuple[str, ...]) -> None:
    (tmp_path / "texts").write_bytes(lines(texts))
    assert _lines(tmp_path / "texts") == texts


def test_canvases_come_in_the_order_asked_for_in_parts(tmp_path: Path) -> None:
    pack = Pack.open(written(tmp_path / "pack"))
    rows = np.array([1, 0, 1, 1, 0])
    parts = list(pack.in_turn(rows, 2))
    assert [len(part) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(parts), np.asarray(pack.pixels)[rows])
    np.testing.assert_array_equal(pack.some(rows), np.asarray(pack.pixels)[rows])
    assert list(pack.in_turn(rows[:0], 2)) == []

"""Packing: every row right, used again, whole or absent, and honest about what cannot be used."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmeter.errors import BadImageError, DataError, StorageError
from lightmeter.nouns.dataset import Bad, Dataset, Provenance
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.progress import Advance
from lightmeter.verbs.pack import LISTED, pack

PREPROCESS = Preprocess(size=12, channels=3)


def ppm(pixels: np.ndarray) -> bytes:
    return b"P6 %d %d 255\n" % (pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


def noise(seed: int, side: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def dataset(files: dict[str, bytes], read: Callable[[str], bytes] | None = None) -> Dataset:
    n = len(files)
    return Dataset(
        name="made",
        classes=("a", "b", "c"),
        ids=tuple(files),
        hashes=tuple(hashlib.sha256(data).hexdigest() for data in files.values()),
        labels=np.arange(n, dtype=np.int64) % 3,
        splits=("",) * n,
        groups=("",) * n,
        read=read or files.__getitem__,
        provenance=Provenance("folder", "own"),
    )


def pictures(n: int, side: int = 12) -> dict[str, bytes]:
    return {f"größe/{index:05d}.ppm": ppm(noise(index, side)) for index in range(n)}


def refuse(id: str) -> bytes:
    raise AssertionError(f"{id} was read again")


def only_folder(cache: Path) -> Path:
    """The one pack there, with nothing beside it."""
    (folder,) = (cache / "packs").iterdir()
    return folder


def test_every_row_is_the_canvas_of_its_picture(tmp_path: Path) -> None:
    files = pictures(40, side=15)
    made = pack(dataset(files), PREPROCESS, cache=tmp_path)
    assert made.ids == tuple(files) and made.labels.tolist() == [index % 3 for index in range(40)]
    assert made.pixels.shape == (40, 12, 12, 3) and isinstance(made.pixels, np.memmap)
    for row, data in enumerate(files.values()):
        canvas = PREPROCESS.canvas(data).pixels
        assert np.array_equal(made.pixels[row], canvas)
        assert made.pixel_hashes[row] == hashlib.blake2b(canvas.tobytes(), digest_size=16).hexdigest()
    assert made.rows(["größe/00007.ppm", "größe/00002.ppm"]).tolist() == [7, 2]
    assert not made.pixels.flags.writeable and made.bad == () and made.notes == {}
    data = dataset(files)
    assert made.path.name == f"{data.fingerprint[:16]}-{PREPROCESS.key()[:16]}" == only_folder(tmp_path).name


def test_equal_canvases_have_equal_hashes_whatever_file_they_come_from(tmp_path: Path) -> None:
    pixels = noise(0)
    Image.fromarray(pixels).save(tmp_path / "same.png")
    files = {"one.ppm": ppm(pixels), "two.png": (tmp_path / "same.png").read_bytes(), "three.ppm": ppm(noise(1))}
    one, two, three = pack(dataset(files), PREPROCESS, cache=tmp_path).pixel_hashes
    assert one == two != three


def test_the_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    files = pictures(1500)
    files["größe/00003.ppm"] = files["größe/01400.ppm"] = b"broken"
    contents = []
    for workers in (1, 2, 7):
        made = pack(dataset(files), PREPROCESS, cache=tmp_path / str(workers), on_bad="quarantine", workers=workers)
        contents.append({file.name: file.read_bytes() for file in made.path.iterdir()})
        assert made.ids == tuple(id for id in files if id not in ("größe/00003.ppm", "größe/01400.ppm"))
        assert np.array_equal(made.pixels[-1], noise(1499))
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) == 5


def test_an_up_to_date_pack_is_opened_without_reading_a_picture(tmp_path: Path) -> None:
    files = pictures(20)
    first = pack(dataset(files), PREPROCESS, cache=tmp_path)
    again = pack(dataset(files, refuse), PREPROCESS, cache=tmp_path)
    assert np.array_equal(first.pixels, again.pixels) and first.pixel_hashes == again.pixel_hashes
    opened = Pack.open(again.path)
    assert (opened.ids, opened.preprocess) == (first.ids, PREPROCESS)
    assert opened.dataset_fingerprint == dataset(files).fingerprint


def test_other_data_or_settings_make_another_pack(tmp_path: Path) -> None:
    files = pictures(5)
    pack(dataset(files), PREPROCESS, cache=tmp_path)
    pack(dataset(files | {"größe/00001.ppm": ppm(noise(99))}), PREPROCESS, cache=tmp_path)
    pack(dataset(files), Preprocess(size=12, channels=1), cache=tmp_path)
    assert len(list((tmp_path / "packs").iterdir())) == 3


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "canvases.npy"),
        lambda folder: cut(folder / "labels.npy"),
        lambda folder: cut(folder / "ids.txt"),
        lambda folder: cut(folder / "hashes.txt"),
        lambda folder: cut(folder / "pack.json"),
        lambda folder: (folder / "canvases.npy").unlink(),
        lambda folder: (folder / "pack.json").unlink(),
        lambda folder: (folder / "ids.txt").write_bytes(bytes((folder / "ids.txt").stat().st_size)),
        lambda folder: edit(folder / "pack.json", rules=0),
        lambda folder: edit(folder / "pack.json", pillow="1.0"),
        lambda folder: edit(folder / "pack.json", format=2),
        lambda folder: edit(folder / "pack.json", dataset="0" * 64),
        lambda folder: edit(folder / "pack.json", files=None),
        lambda folder: edit(folder / "pack.json", bad=[1]),
        lambda folder: [shutil.rmtree(folder), folder.mkdir()],
    ],
)
def test_a_pack_that_is_not_whole_or_not_ours_is_made_anew(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    files = pictures(6)
    first = pack(dataset(files), PREPROCESS, cache=tmp_path)
    damage(first.path)
    read: list[str] = []
    again = pack(dataset(files, lambda name: (read.append(name), files[name])[1]), PREPROCESS, cache=tmp_path)
    assert len(read) == 6
    assert np.array_equal(again.pixels, [PREPROCESS.canvas(data).pixels for data in files.values()])
    assert only_folder(tmp_path) == again.path


def test_bad_pictures_are_an_error_that_lists_them(tmp_path: Path) -> None:
    files = pictures(60)
    for index in range(10, 40):
        files[f"größe/{index:05d}.ppm"] = b"" if index % 2 else b"P6 12 12 255\nshort"
    with pytest.raises(DataError) as caught:
        pack(dataset(files), PREPROCESS, cache=tmp_path)
    text = str(caught.value)
    assert "30 of 60 pictures cannot be used" in text and "--on-bad quarantine" in text
    assert "größe/00010.ppm: the file ends early" in text and "größe/00011.ppm: the file is empty" in text
    assert text.count("größe/") == LISTED and "and 10 more" in text
    # the answer to that error must not decode everything a second time
    made = pack(dataset(files, refuse), PREPROCESS, cache=tmp_path, on_bad="quarantine")
    with pytest.raises(DataError):
        pack(dataset(files, refuse), PREPROCESS, cache=tmp_path)
    assert len(made) == 30 and len(made.bad) == 30


def test_quarantine_matches_the_dataset_row_for_row(tmp_path: Path) -> None:
    files = pictures(10)
    files["größe/00000.ppm"] = files["größe/00004.ppm"] = files["größe/00009.ppm"] = b"no picture"
    data = dataset(files)
    made = pack(data, PREPROCESS, cache=tmp_path, on_bad="quarantine")
    rest = data.without(made.bad)
    assert made.ids == rest.ids and np.array_equal(made.labels, rest.labels) and len(rest) == 7
    assert made.bad[0] == Bad("größe/00000.ppm", "it is not a picture")
    for row, id in enumerate(rest.ids):
        assert np.array_equal(made.pixels[row], PREPROCESS.canvas(files[id]).pixels)


def test_no_picture_at_all_is_an_error_even_in_quarantine(tmp_path: Path) -> None:
    files = {"one": b"x", "two": b"y"}
    for on_bad in ("error", "quarantine"):
        with pytest.raises(DataError, match="None of the 2 pictures"):
            pack(dataset(files), PREPROCESS, cache=tmp_path, on_bad=on_bad)


def test_a_file_that_cannot_be_read_is_bad_now_and_tried_again_later(tmp_path: Path) -> None:
    files = pictures(8)
    folder = tmp_path / "pictures"
    for id, content in files.items():
        (folder / id).parent.mkdir(parents=True, exist_ok=True)
        (folder / id).write_bytes(content)
    data = dataset(files, lambda name: (folder / name).read_bytes())
    (folder / "größe/00005.ppm").rename(tmp_path / "elsewhere")
    made = pack(data, PREPROCESS, cache=tmp_path, on_bad="quarantine")
    assert made.bad == (Bad("größe/00005.ppm", "it cannot be read (No such file or directory)"),)
    (tmp_path / "elsewhere").rename(folder / "größe/00005.ppm")
    again = pack(data, PREPROCESS, cache=tmp_path)
    assert len(again) == 8 and again.path == made.path and np.array_equal(again.pixels[:5], made.pixels[:5])


def test_only_reading_and_decoding_make_a_picture_bad(tmp_path: Path) -> None:
    files = pictures(8)

    def fails(error: Exception) -> Callable[[str], bytes]:
        def read(id: str) -> bytes:
            if id.endswith("3.ppm"):
                raise error
            return files[id]

        return read

    made = pack(dataset(files, fails(BadImageError("row 3 is short"))), PREPROCESS, cache=tmp_path, on_bad="quarantine")
    assert made.bad == (Bad("größe/00003.ppm", "row 3 is short"),)
    with pytest.raises(ZeroDivisionError):
        pack(dataset(files, fails(ZeroDivisionError())), PREPROCESS, cache=tmp_path / "other", on_bad="quarantine")
    assert list((tmp_path / "other" / "packs").iterdir()) == []


def test_remarks_are_counted(tmp_path: Path) -> None:
    files = pictures(3)
    for index in range(2):
        Image.fromarray(np.full((12, 12), 40_000 + index, np.uint16)).save(tmp_path / "deep.png")
        files[f"deep{index}.png"] = (tmp_path / "deep.png").read_bytes()
    made = pack(dataset(files), PREPROCESS, cache=tmp_path)
    assert made.notes == {"16-bit scaled to 8": 2} == Pack.open(made.path).notes


def test_progress_counts_every_image_once(tmp_path: Path) -> None:
    class Counter:
        def __init__(self) -> None:
            self.calls: list[tuple[int, str]] = []
            self.done = 0

        @contextmanager
        def track(self, title: str, total: int, unit: str) -> AbstractContextManager[Advance]:
            self.calls.append((total, unit))
            yield self.advance

        def advance(self, count: int, total: int | None = None) -> None:
            self.done += count

        def say(self, text: str) -> None:
            raise AssertionError(text)

    counter = Counter()
    files = pictures(700) | {"bad": b"bad"}
    pack(dataset(files), PREPROCESS, cache=tmp_path, on_bad="quarantine", progress=counter)
    assert counter.calls == [(701, "images")] and counter.done == 701


def test_a_pack_is_never_held_in_memory(tmp_path: Path) -> None:
    body = ppm(noise(0, side=64))
    data = dataset({f"{index}": body for index in range(4000)})
    tracemalloc.start()
    made = pack(data, Preprocess(size=64, channels=3), cache=tmp_path, workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.pixels.nbytes > 46 << 20 and peak < 16 << 20


def test_too_little_room_is_found_before_any_work(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    n = free // (3 * 1024 * 1024) + 1000
    if n > 2_000_000:
        pytest.skip("this disk is too large to be filled in thought")
    text = [str(index) for index in range(n)]
    data = replace(
        dataset({"0": b""}, refuse),
        ids=tuple(text),
        hashes=tuple(text),
        labels=np.zeros(n, np.int64),
        splits=("",) * n,
        groups=("",) * n,
    )
    with pytest.raises(StorageError, match=r"has [\d,]+ MiB free; the decoded pictures need [\d,]+ MiB"):
        pack(data, Preprocess(size=1024, channels=3), cache=tmp_path)
    assert list((tmp_path / "packs").iterdir()) == []


def test_a_cache_that_cannot_be_a_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="a part of the path is a file"):
        pack(dataset(pictures(2)), PREPROCESS, cache=tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_cache_is_said_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="permission was denied"):
            pack(dataset(pictures(2)), PREPROCESS, cache=tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_what_dead_processes_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "packs"
    for name, hours in ((".old.x.part", 25), (".new.x.part", 1), (".gone.x.old", 30)):
        (folder / name).mkdir(parents=True)
        (folder / name / "canvases.npy").write_bytes(b"x")
        then = time.time() - hours * 3600
        os.utime(folder / name / "canvases.npy", (then, then))
        os.utime(folder / name, (then, then))
    pack(dataset(pictures(2)), PREPROCESS, cache=tmp_path)
    assert {entry.name for entry in folder.iterdir() if entry.name.startswith(".")} == {".new.x.part"}


SCRIPT = """
import sys, time
import numpy as np
from pathlib import Path
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.verbs.pack import pack

cache, pause, side = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

def read(id):
    if id == "7":
        print("started", flush=True)
        time.sleep(pause)
    return b"P5 %d %d 255\\n" % (side, side) + bytes([int(id)]) * side * side

n = 100
data = Dataset("made", ("a", "b"), tuple(map(str, range(n))), tuple(map(str, range(n))), np.zeros(n, np.int64),
               ("",) * n, ("",) * n, read, Provenance("folder", "own"))
made = pack(data, Preprocess(size=side, channels=1), cache=cache, workers=2)
assert [int(canvas[0, 0, 0]) for canvas in made.pixels] == list(range(n))
print("done", made.path.name)
"""


def start(cache: Path, *, pause: float, side: int = 16, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(cache), str(pause), str(side)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_a_process_killed_halfway_leaves_nothing_that_counts_as_a_pack(tmp_path: Path) -> None:
    killed = start(tmp_path, pause=60)
    assert killed.stdout is not None and killed.stdout.readline() == "started\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert all(entry.name.endswith(".part") for entry in (tmp_path / "packs").iterdir())
    after = start(tmp_path, pause=0)
    assert "done" in after.communicate()[0] and after.returncode == 0


@pytest.mark.parametrize("stale", [False, True])
def test_processes_that_build_the_same_pack_all_end_well(tmp_path: Path, stale: bool) -> None:
    if stale:
        start(tmp_path, pause=0).communicate()
        cut(only_folder(tmp_path) / "canvases.npy")
    running = [start(tmp_path, pause=0.5) for _ in range(3)]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert len({out.split()[-1] for out, _ in said}) == 1 and only_folder(tmp_path)


def test_threads_that_replace_the_same_stale_pack_all_end_well(tmp_path: Path) -> None:
    """Faster than processes, so that the moments between two renames are met too."""
    files = pictures(3)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(15):
            first = pack(dataset(files), PREPROCESS, cache=tmp_path)
            edit(first.path / "pack.json", rules=0)
            made = [pool.submit(pack, dataset(files), PREPROCESS, cache=tmp_path, workers=1) for _ in range(4)]
            assert all(np.array_equal(one.result().pixels, first.pixels) for one in made)


def test_a_file_that_may_not_grow_is_an_error_and_nothing_is_left(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start(tmp_path, pause=0, side=64, preexec_fn=limit)  # 100 canvases are 409,600 bytes
    error = process.communicate()[1]
    assert process.returncode == 1 and "StorageError" in error and "beyond the size allowed" in error
    assert list((tmp_path / "packs").iterdir()) == []


def test_the_users_files_are_left_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    files = {"one.ppm": ppm(noise(0, 30)), "two.ppm": b"broken"}
    for id, content in files.items():
        (folder / id).write_bytes(content)
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    pack(dataset(files, lambda name: (folder / name).read_bytes()), PREPROCESS, cache=tmp_path, on_bad="quarantine")
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before

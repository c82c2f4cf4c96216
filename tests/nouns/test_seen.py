"""What was seen is kept whole, joined, refused where it is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lightmeter.errors import FormatError
from lightmeter.nouns.likeness import BYTES
from lightmeter.nouns.seen import Seen, short_hashes


def some(n: int, *, public: tuple[str, ...] = (), data: tuple[str, ...] = ("f" * 64,), seed: int = 0) -> Seen:
    random = np.random.default_rng(seed)
    files, canvases = (random.integers(0, 2**64, n, dtype=np.uint64) for _ in range(2))
    return Seen(public, (), data, files, canvases, random.integers(0, 256, (n, BYTES), dtype=np.uint8))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = some(7, public=("imagenet-1k/train",))
    kept.save(tmp_path / "seen.npz")
    again = Seen.load(tmp_path / "seen.npz")
    assert (again.public, again.missing, again.data) == (kept.public, kept.missing, kept.data)
    for name in ("files", "canvases", "signatures"):
        np.testing.assert_array_equal(getattr(again, name), getattr(kept, name))
        assert getattr(again, name).dtype == getattr(kept, name).dtype


def test_a_picture_takes_47_bytes(tmp_path: Path) -> None:
    some(10_000).save(tmp_path / "seen.npz")
    assert (tmp_path / "seen.npz").stat().st_size < 47 * 10_000 + 2000


def test_two_are_joined() -> None:
    both = some(3, public=("a", "b"), data=("x",)).and_(some(2, public=("b", "c"), data=("y",), seed=1))
    assert len(both) == 5 and both.public == ("a", "b", "c") and both.data == ("x", "y")
    assert len(Seen.nothing(missing=["m"]).and_(Seen.nothing())) == 0


def test_hashes_are_cut_to_eight_bytes() -> None:
    assert short_hashes(["ff" * 32, "0" * 16 + "1" * 16]).tolist() == [2**64 - 1, 0]


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seen.npz").write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read"):
        Seen.load(tmp_path / "seen.npz")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    some(1).save(tmp_path / "seen.npz")
    with np.load(tmp_path / "seen.npz") as arrays:
        parts = dict(arrays)
    parts["card"] = np.frombuffer(json.dumps({"format": 2}).encode(), np.uint8)
    np.savez(tmp_path / "seen.npz", **parts)
    with pytest.raises(FormatError, match="format 2"):
        Seen.load(tmp_path / "seen.npz")


def test_parts_of_other_lengths_are_refused(tmp_path: Path) -> None:
    some(3).save(tmp_path / "seen.npz")
    with np.load(tmp_path / "seen.npz") as arrays:
        parts = dict(arrays)
    np.savez(tmp_path / "seen.npz", **{**parts, "canvases": parts["canvases"][:2]})
    with pytest.raises(FormatError, match="cannot be read"):
        Seen.load(tmp_path / "seen.npz")

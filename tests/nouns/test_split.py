from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightmeter.errors import FormatError
from lightmeter.nouns.split import Split

ORIGIN = {"train": "drawn", "val": "drawn", "test": "source"}
SPLIT = Split(("a", "b"), ("c",), ("d",), "f00d", ORIGIN, seed=3, leaks=(("d", "a"),), clusters=1)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    SPLIT.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == SPLIT


def test_ids_of_any_script_survive(tmp_path: Path) -> None:
    split = Split(("ü/猫 1.png",), ("b",), ("c",), "f", ORIGIN, seed=0)
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json").train == ("ü/猫 1.png",)


def test_parts_that_overlap_are_our_bug() -> None:
    with pytest.raises(AssertionError, match="overlap"):
        Split(("a",), ("a",), (), "f", ORIGIN, seed=0)


def test_learning_has_no_test() -> None:
    assert SPLIT.learning.train == ("a", "b")
    assert SPLIT.learning.val == ("c",)
    assert not hasattr(SPLIT.learning, "test")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(FormatError, match=r"split of format 99(.|\n)*upgrade"):
        Split.load(tmp_path / "split.json")

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lightmeter.verbs import environment as module
from lightmeter.verbs.environment import FEATURES, environment, features


def test_what_is_kept_of_a_run_is_plain_and_names_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "lightmeter"), "train", str(tmp_path / "pictures")])
    told = environment(7)
    assert (told["seed"], told["command"]) == (7, ["lightmeter", "train", "pictures"])
    assert told["cores"] >= 1
    assert str(tmp_path) not in json.dumps(told)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("model name: Some\nflags\t\t: fpu avx2 avx512_vnni avx2x\n", "avx2 avx512_vnni"),
        ("Features\t: fp asimd bf16\n", "asimd bf16"),
        ("", ""),
    ],
)
def test_features_are_whole_words_of_what_the_processor_says(
    said: str, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(said)
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "cpuinfo")
    assert features() == expected
    assert set(expected.split()) <= set(FEATURES)


def test_without_such_a_file_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "absent")
    assert features() == ""

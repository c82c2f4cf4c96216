"""export: options that do not go together are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightmeter.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ["--int8", "--any-size", "a.onnx"],
        ["--triton", "a", "--any-size", "a.onnx"],
        ["--triton", "a", "--out", "b"],
        ["--any-size", "a.onnx", "--examples", "5"],
        ["--int8", "--examples", "5"],
    ],
)
def test_what_would_be_ignored_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "run", *words]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words if word.startswith("--"))
    assert "do not go together" in told
    assert not list(tmp_path.iterdir())

"""Run folders: made once, opened again, refused where they are none or newer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightmeter.errors import FormatError, StorageError
from lightmeter.nouns.run import FORMAT, Run, passes


def made(path: Path) -> Run:
    """A run with its request."""
    run = Run.create(path)
    run.write("request", {"source": "digits"})
    return run


def test_a_run_is_made_and_opened(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    assert Run.open(tmp_path / "run") == run
    assert run.read("request")["source"] == "digits"
    assert not run.has("result")


def test_a_folder_that_holds_a_run_is_not_used_again(tmp_path: Path) -> None:
    made(tmp_path / "run")
    with pytest.raises(StorageError, match="holds a run already"):
        Run.create(tmp_path / "run")


def test_a_run_cannot_be_made_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        Run.create(tmp_path / "file" / "run")


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="not a folder"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="holds no run"):
        Run.open(tmp_path)
    bundle = Run.create(tmp_path / "run").path / "model.bundle"
    bundle.mkdir()
    (bundle.parent / "request.json").write_text("{}")
    with pytest.raises(FormatError, match=r"the run is .*run\."):
        Run.open(bundle)


def test_a_run_of_a_newer_format_is_refused_with_what_helps(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run.path / "request.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(FormatError, match=r"upgrade Lightmeter"):
        Run.open(run.path)


def test_a_last_epoch_line_cut_short_is_left_out(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    run.append_epoch({"epoch": 1})
    run.append_epoch({"epoch": 2})
    with open(run.path / "epochs.jsonl", "a") as stream:
        stream.write('{"epoch": 3, "tr')
    assert [record["epoch"] for record in run.epochs()] == [1, 2]


def test_a_last_epoch_that_was_cut_short_counts_by_its_part() -> None:
    assert passes([]) == 0
    assert passes([{"step": 20}]) == 1
    assert passes([{"step": 20}, {"step": 40}]) == 2
    assert passes([{"step": 20}, {"step": 40}, {"step": 42}]) == 2.1

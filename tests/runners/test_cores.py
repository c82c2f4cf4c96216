from __future__ import annotations

import math
from pathlib import Path

import pytest

from lightmeter import runners
from lightmeter.runners import _quota, cores


def test_a_containers_share_of_the_processor_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _quota(tmp_path) == math.inf
    (tmp_path / "cpu").mkdir()
    for quota, expected in (("150000", 1.5), ("-1", math.inf), ("much", math.inf)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        assert _quota(tmp_path) == expected
    for line, expected in (("50000 100000", 0.5), ("max 100000", math.inf)):
        (tmp_path / "cpu.max").write_text(line + "\n")
        assert _quota(tmp_path) == expected
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(runners, "_CONTROL", tmp_path)
    assert cores() == 1

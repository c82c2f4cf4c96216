from __future__ import annotations

from pathlib import Path

import pytest

from lightmeter.nouns import places


def test_the_environment_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIGHTMETER_DATA", str(tmp_path / "d"))
    monkeypatch.setenv("LIGHTMETER_CACHE", "~/c")
    assert places.data_folder() == tmp_path / "d"
    assert places.cache_folder() == Path.home() / "c"


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [("linux", "XDG_CACHE_HOME", ""), ("win32", "LOCALAPPDATA", ""), ("darwin", "", "Library/Caches")],
)
def test_each_platform_has_its_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str, expected: str
) -> None:
    monkeypatch.setattr(places.sys, "platform", platform)
    monkeypatch.setenv("LIGHTMETER_DATA", " ")  # empty is unset
    monkeypatch.delenv("LIGHTMETER_CACHE")
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    base = Path.home() / expected if expected else tmp_path
    assert places.cache_folder() == base / "lightmeter"
    assert places.data_folder() == base / "lightmeter" / "data"

"""Fixtures that every test may use: where the named data sets are, and places that no test shares with a user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(os.environ["LIGHTMETER_DATA"]) if os.environ.get("LIGHTMETER_DATA") else None
"""The named sets, as they were when the session began; the tests themselves never see the variable."""


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's data and cache: both variables point into the session's temporary folder."""
    places = tmp_path_factory.getbasetemp() / "places"
    monkeypatch.setenv("LIGHTMETER_DATA", str(places / "data"))
    monkeypatch.setenv("LIGHTMETER_CACHE", str(places / "cache"))


@pytest.fixture
def named_set(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """name -> its folder, with LIGHTMETER_DATA pointing above it; skips with the reason where the set is absent."""

    def locate(name: str) -> Path:
        if DATA is None:
            pytest.skip(f"needs the data set {name}: LIGHTMETER_DATA is not set")
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"needs the data set {name}: LIGHTMETER_DATA holds no folder of that name")
        monkeypatch.setenv("LIGHTMETER_DATA", str(DATA))
        return folder

    return locate


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parent.parent

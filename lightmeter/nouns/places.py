"""Where Lightmeter looks for data sets and keeps what it can make again, read from the environment at each call."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """The folder of named data sets, one sub-folder each: $LIGHTMETER_DATA, else below the platform's cache."""
    return _from_environment("LIGHTMETER_DATA") or _platform_cache() / "lightmeter" / "data"


def cache_folder() -> Path:
    """The folder of packs and indexes, safe to delete: $LIGHTMETER_CACHE, else below the platform's cache."""
    return _from_environment("LIGHTMETER_CACHE") or _platform_cache() / "lightmeter"


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable, "").strip()  # an empty variable is an unset one, as in the XDG rules
    return Path(value).expanduser() if value else None


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return _from_environment("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return _from_environment("XDG_CACHE_HOME") or Path.home() / ".cache"

"""doctor: this machine and installation to a Health: what is there, and what stands in the way."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from lightmeter.nouns.places import cache_folder, data_folder
from lightmeter.sources.named import NAMED
from lightmeter.verbs.environment import environment

LIBRARIES = {
    "base": ("numpy", "onnxruntime", "pillow", "pydantic", "rich", "safetensors", "typer"),
    "train": (
        "torch",
        "h5py",
        "onnx",
        "onnxscript",
        "opencv-python-headless",
        "scikit-learn",
        "scipy",
        "matplotlib",
        "jinja2",
        "pyarrow",
    ),
    "openvino": ("openvino",),
    "serve": ("fastapi", "uvicorn", "prometheus-client", "python-multipart"),
}
"""extra -> the libraries that it brings."""

LOW_DISK = 2.0
LOW_MEMORY = 2.0
"""GiB below which doctor speaks up."""


@dataclass(frozen=True, slots=True)
class Health:
    """What doctor found.

    Attributes:
        sections: title -> name -> value, for people and as JSON.
        problems: what stands in the way, each with the way out.
        notes: what is missing, though not everyone needs it.
    """

    sections: dict[str, dict[str, Any]]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ok": self.ok, "problems": list(self.problems), "notes": list(self.notes), **self.sections}


def doctor() -> Health:
    """Look, without changing anything, loading PyTorch or opening a connection."""
    problems: list[str] = []
    notes: list[str] = []
    sections = {
        "versions": _versions(problems, notes),
        "machine": _machine(problems),
        "places": _places(problems),
        "data sets": {name: "there" if (data_folder() / name).is_dir() else "not there" for name in NAMED},
    }
    return Health(sections, tuple(problems), tuple(notes))


def _versions(problems: list[str], notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"lightmeter": _version("lightmeter"), "python": platform.python_version()}
    for extra, names in LIBRARIES.items():
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if version is None]
        found |= {name: version or "not installed" for name, version in versions.items()}
        fix = f"pip install 'lightmeter[{extra}]'" if extra != "base" else "pip install lightmeter"
        if missing and extra == "base":
            problems.append(f"{', '.join(missing)} is not installed: {fix}")
        elif missing:
            notes.append(f"`{extra}` needs {', '.join(missing)}: {fix}")
    return found


def _machine(problems: list[str]) -> dict[str, Any]:
    facts = environment(0)
    memory = facts["memory_gib"]
    if memory is not None and memory < LOW_MEMORY:
        problems.append(f"{memory} GiB of memory is little: choose small pictures with --set preprocess.size=32")
    return {
        "platform": facts["platform"],
        "processor": facts["cpu"],
        "features": facts["features"] or "none of note",
        "cores": facts["cores"],
        "memory_gib": memory,
        "onnxruntime": _providers(problems),
        "gpu": shutil.which("nvidia-smi") is not None,
    }


def _places(problems: list[str]) -> dict[str, Any]:
    cache = cache_folder()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    free = round(shutil.disk_usage(there).free / 2**30, 1)
    if not os.access(there, os.W_OK):
        problems.append(f"{there} cannot be written: set LIGHTMETER_CACHE to a folder that can")
    if free < LOW_DISK:
        problems.append(f"{free} GiB are free at {there}: free some, or set LIGHTMETER_CACHE to another disk")
    return {"data": str(data_folder()), "cache": str(cache), "free_gib": free}


def _providers(problems: list[str]) -> str:
    try:
        import onnxruntime
    except ImportError as error:
        problems.append(f"onnxruntime cannot be loaded ({error}): pip install --force-reinstall onnxruntime")
        return "cannot be loaded"
    return ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

"""environment: what this machine is and what runs on it, for the record of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FEATURES = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
)
"""Processor features that decide how fast training and serving are; the meter measures rather than trusts them."""

_LIBRARIES = ("torch", "numpy", "pillow", "onnxruntime", "scikit-learn", "scipy", "safetensors")


def environment(seed: int) -> dict[str, Any]:
    """Versions, machine, command and seed, as plain JSON values. Paths in the command are cut to their last part."""
    return {
        "lightmeter": _version("lightmeter"),
        "code": _code(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": processor(),
        "features": features(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "gpu": gpu(),
        "command": [Path(word).name if os.sep in word else word for word in sys.argv],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _code() -> str:
    """The commit where this runs from a checkout, else "release"."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return "release"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--tags"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "release"


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def features() -> str:
    """Those of `FEATURES` that the processor says it has, with spaces between; "" where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    said = next((line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join(flag for flag in FEATURES if flag in said.split())


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (OSError, ValueError):
        return None


def gpu() -> str | None:
    """The accelerator's name, once PyTorch is loaded; None without one."""
    if "torch" not in sys.modules:
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None

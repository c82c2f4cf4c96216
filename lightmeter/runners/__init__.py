"""Bundle -> a function from raw pixels to logits. One entry per library that runs graphs; none of them loads torch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners.onnx import open_onnx
from lightmeter.runners.openvino import open_openvino
from lightmeter.runners.side_by_side import SideBySide

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8[N, S, S, C] -> float32[N, K]; may be called from several threads at once. It may have `maps` and `features`."""


def maps_of(runner: Runner, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """uint8[N, S, S, C] -> the network's last maps float32[N, F, H, W]; None where the runner gives none."""
    maps = getattr(runner, "maps", None)
    found: NDArray[np.float32] | None = None if maps is None else maps(pixels)
    return found


def features_of(runner: Runner, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """uint8[N, S, S, C] -> what the network's head sees, float32[N, F]; None where the runner does not give it."""
    features = getattr(runner, "features", None)
    found: NDArray[np.float32] | None = None if features is None else features(pixels)
    return found


PLAIN = "onnxruntime"
"""The runner that is always there, and that every bundle was examined with."""

RUNNERS: dict[str, Callable[..., Runner]] = {PLAIN: open_onnx, "openvino": open_openvino}

_CONTROL = Path("/sys/fs/cgroup")  # of this process, as a container sees it
_GRAPHS = ("onnx",)  # kinds that they read


def open_runner(bundle: Bundle, *, threads: int = 0, lanes: int = 1, by: str = PLAIN) -> Runner:
    """Load the bundle's graph.

    Args:
        threads: that one call may use; 0 stands for every core this process may run on.
        lanes: calls that are expected to run side by side.
        by: a name in `RUNNERS`.

    Raises:
        UsageError: no such runner, or its library is not installed.
        BundleError: the graph is of a kind we have no runner for, cannot be loaded, or does not fit its card.
    """
    if by not in RUNNERS:
        raise UsageError(f"There is no runner called {by!r}.", "one of " + ", ".join(RUNNERS))
    if bundle.graph not in _GRAPHS:
        raise BundleError(f"The bundle holds a graph of kind {bundle.graph!r}.", "one of " + ", ".join(_GRAPHS))
    return RUNNERS[by](bundle, threads=threads or cores(), lanes=lanes)


def open_side_by_side(bundle: Bundle) -> Runner:
    """As `open_runner`, for scoring many pictures at a time: each core computes some of them. Has no maps, features."""
    lanes = cores()
    if lanes == 1:
        return open_runner(bundle)
    return SideBySide(open_runner(bundle, threads=1, lanes=lanes), lanes)


def cores() -> int:
    """How many cores this process may run on, and has time on: a container's share of the processor counts."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota(_CONTROL))))


def _quota(folder: Path) -> float:
    """Cores' worth of time that the control group gives; infinite where it sets no bound."""
    try:
        if (folder / "cpu.max").exists():
            given, each = (folder / "cpu.max").read_text().split()
        else:
            given, each = ((folder / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(given) / int(each) if given.strip() not in ("max", "-1") else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf

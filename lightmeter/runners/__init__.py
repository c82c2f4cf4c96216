"""Bundle -> a function from raw pixels to logits. One entry per kind of graph; none of them loads torch."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners.onnx import open_onnx

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


RUNNERS: dict[str, Callable[..., Runner]] = {"onnx": open_onnx}


def open_runner(bundle: Bundle, *, threads: int = 0) -> Runner:
    """Load the bundle's graph.

    Args:
        threads: that one call may use; 0 stands for every core this process may run on.

    Raises:
        BundleError: the graph is of a kind we have no runner for, cannot be loaded, or does not fit its card.
    """
    if bundle.graph not in RUNNERS:
        raise BundleError(f"The bundle holds a graph of kind {bundle.graph!r}.", "one of " + ", ".join(sorted(RUNNERS)))
    return RUNNERS[bundle.graph](bundle, threads=threads or cores())


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

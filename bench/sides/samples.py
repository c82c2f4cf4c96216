"""Pictures that both sides learn from: CIFAR-10's training part where it is at hand, else random ones of its shape."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def cifar(count: int = 50_000) -> tuple[Array, Array]:
    """uint8[N, 32, 32, 3] and int64[N], decoded already."""
    return _part("", count, 50_000)


def cifar_test(count: int = 10_000) -> tuple[Array, Array]:
    """Its test part."""
    return _part("test_", count, 10_000)


def _part(prefix: str, count: int, most: int) -> tuple[Array, Array]:
    kept = os.environ.get("LIGHTMETER_BENCH_ARRAYS")
    if kept:
        with np.load(kept) as file:
            return file[f"{prefix}pixels"][:count], file[f"{prefix}labels"][:count]
    random, count = np.random.default_rng(0), min(count, most)
    return random.integers(0, 256, (count, 32, 32, 3), np.uint8), random.integers(0, 10, count)

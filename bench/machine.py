"""The name by which the benchmarks of one kind of processor are told from another's."""

from __future__ import annotations

from typing import Any

_MAKERS = ("Intel", "AMD", "Apple", "ARM")
_VECTORS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON"))


def kind(environment: dict[str, Any]) -> str:
    """Maker and widest vectors, as "AMD, AVX2", of what `lightmeter.verbs.environment` tells."""
    said = environment["cpu"] or ""
    maker = next((name for name in _MAKERS if name in said), said.partition("(")[0].strip() or "unknown")
    able = (environment["features"] or "").split()
    return ", ".join([maker, *[name for feature, name in _VECTORS if feature in able][:1]])


def folder_name(environment: dict[str, Any]) -> str:
    """The same as part of a folder's name: "amd-avx2"."""
    return kind(environment).lower().replace("-", "").replace(", ", "-").replace(" ", "-")

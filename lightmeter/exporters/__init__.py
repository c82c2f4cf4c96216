"""Bundle writers: a module in memory -> a graph of that kind, which the runners read.

Each entry is `exporter(module, path, *, size, channels, outputs) -> None`: it writes a graph that takes raw pixels
uint8[N, S, S, C], any N, and gives float32 logits and whatever else `outputs` names, and leaves the module as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightmeter.exporters.onnx import export_onnx

EXPORTERS: dict[str, Callable[..., Any]] = {"onnx": export_onnx}

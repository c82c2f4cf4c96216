"""The bundle's graph for servers of another make: JPEG to pixels, and a batch of them to probabilities."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

WORKERS = int(os.environ.get("LIGHTMETER_WORKERS", "1"))
"""Processes that decode and run the graph."""


def pixels_of(data: bytes, side: int = 160) -> Any:
    """uint8[S, S, 3]."""
    with Image.open(io.BytesIO(data)) as file:
        return np.asarray(file.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


class Graph:
    """A session that names its outputs' first: logits."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, len(os.sched_getaffinity(0)) // WORKERS)  # each worker its share
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def __call__(self, batch: Any) -> Any:
        """uint8[N, S, S, 3] to probabilities float32[N, K]."""
        logits = self.session.run([self.output], {self.name: np.stack(batch)})[0]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

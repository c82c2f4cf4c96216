"""The same graph in BentoML, with its adaptive batching; LIGHTMETER_ONNX names it: `bentoml serve bento:Service`."""

import os
from pathlib import Path

import bentoml
import numpy as np
from onnx_model import WORKERS, Graph, pixels_of


@bentoml.service(workers=WORKERS, traffic={"timeout": 30})
class Service:
    """A picture as an uploaded file."""

    def __init__(self) -> None:
        self.graph = Graph(os.environ["LIGHTMETER_ONNX"])

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=100)
    def predict(self, image: list[Path]) -> np.ndarray:
        """Probabilities of each."""
        return self.graph([pixels_of(path.read_bytes()) for path in image])

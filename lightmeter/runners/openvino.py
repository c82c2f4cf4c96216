"""A bundle's `model.onnx` -> a function of arrays, by OpenVINO on the CPU: an alternative where it is faster."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError, UsageError
from lightmeter.nouns.bundle import GRAPH, Bundle
from lightmeter.runners.onnx import OnnxRunner, open_onnx


def open_openvino(bundle: Bundle, *, threads: int, lanes: int = 1) -> OpenVinoRunner:
    """uint8[N, S, S, C] -> float32[N, K]. Threads may share it.

    ONNX Runtime reads the graph first: it holds it against its card, and refuses one that points outside its folder.

    Raises:
        UsageError: OpenVINO is not installed.
        BundleError: the graph cannot be loaded, or takes or gives something else than its card says.
    """
    checked = open_onnx(bundle, threads=1)
    try:
        import openvino  # noqa: F401 - whether it is there
    except ImportError as error:
        raise UsageError(
            "OpenVINO was asked for, which is not installed.", fix="pip install 'lightmeter[openvino]'"
        ) from error
    path = bundle.path / GRAPH
    settings = {
        "INFERENCE_NUM_THREADS": threads * lanes,
        "NUM_STREAMS": lanes,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it, which fails the exam
        "ENABLE_CPU_PINNING": False,  # the cores are shared with decoding
    }
    try:
        compiled = _core().compile_model(str(path), "CPU", settings)
    except RuntimeError as error:
        raise BundleError(f"{path} could not be loaded by OpenVINO.", "a graph of operators that it knows") from error
    return OpenVinoRunner(compiled, checked, path)


@cache
def _core() -> Any:
    """One for the process: once the last one and all that it compiled are gone, the process crashes when it ends."""
    import openvino

    return openvino.Core()


class OpenVinoRunner:
    """A compiled graph: uint8[N, S, S, C] -> float32[N, K]."""

    def __init__(self, compiled: Any, checked: OnnxRunner, path: Path) -> None:
        self._compiled, self._path = compiled, path
        self.shape, self.classes, self._given = checked.shape, checked.classes, checked.given
        self._own = threading.local()  # a request is for one thread at a time

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits. Raises BundleError."""
        if not len(pixels):
            return np.zeros((0, self.classes), np.float32)
        return self._run(self._given[0], pixels)

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The network's last maps float32[N, F, H, W], or None where the graph gives none. Raises BundleError."""
        return self._run("maps", pixels) if "maps" in self._given else None

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """What the network's head sees, float32[N, F], or None where the graph does not give it. Raises BundleError."""
        if "features" in self._given:
            return self._run("features", pixels)
        maps = self.maps(pixels)
        return None if maps is None else maps.mean(axis=(2, 3))

    def _run(self, wanted: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == self.shape, (pixels.dtype, pixels.shape)
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        try:
            found: NDArray[np.float32] = self._own.request.infer([np.ascontiguousarray(pixels)])[wanted].copy()
        except RuntimeError as error:
            raise BundleError(f"{self._path} failed on {len(pixels)} pictures.") from error
        return found

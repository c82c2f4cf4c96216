"""A bundle's `model.onnx` -> a function of arrays, by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lightmeter.errors import BundleError
from lightmeter.nouns.bundle import GRAPH, Bundle


def open_onnx(bundle: Bundle, *, threads: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """uint8[N, S, S, C] -> float32[N, K]. Threads may share it.

    Raises:
        BundleError: the graph cannot be loaded, or takes or gives something else than its card says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is raised; the log would say it twice
    # Idle threads that spin take the cores from decoding, and from whatever else the machine does.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    size, channels, k = bundle.preprocess.size, bundle.preprocess.channels, len(bundle.classes)
    path = bundle.path / GRAPH
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception class per status code, with Exception alone in common
        raise BundleError(f"{path} could not be loaded ({_first_line(error)}).", "an ONNX graph") from error
    takes, gives = session.get_inputs(), session.get_outputs()
    _check(takes, "tensor(uint8)", [size, size, channels], f"{path} takes")
    _check(gives, "tensor(float)", [k], f"{path} gives")
    taken, given = takes[0].name, gives[0].name

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == (size, size, channels), (pixels.dtype, pixels.shape)
        if not len(pixels):
            return np.zeros((0, k), np.float32)
        try:
            logits: NDArray[np.float32] = session.run([given], {taken: pixels})[0]
        except Exception as error:  # as above
            raise BundleError(f"{path} failed on {len(pixels)} pictures ({_first_line(error)}).") from error
        return logits

    return run


def _check(ends: list[Any], kind: str, trailing: list[int], what: str) -> None:
    """Hold the one input or output against type and shape, the first dimension being free."""
    shapes = [f"{end.type} {end.shape}" for end in ends]
    if len(ends) != 1 or ends[0].type != kind or ends[0].shape[1:] != trailing or isinstance(ends[0].shape[0], int):
        raise BundleError(f"{what} {', '.join(shapes) or 'nothing'}.", f"{kind} of shape ['n', {str(trailing)[1:]}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

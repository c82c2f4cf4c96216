"""A bundle's `model.onnx` -> a function of arrays, by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError
from lightmeter.nouns.bundle import GRAPH, Bundle

_SPIN = "50"  # microseconds


def open_onnx(bundle: Bundle, *, threads: int, lanes: int = 1) -> OnnxRunner:
    """uint8[N, S, S, C] -> float32[N, K]. Threads may share it; however many lanes there are, calls run side by side.

    Raises:
        BundleError: the graph cannot be loaded, or takes or gives something else than its card says.
    """
    size, channels, k = bundle.preprocess.size, bundle.preprocess.channels, len(bundle.classes)
    path = bundle.path / GRAPH
    session = open_session(path, threads)
    takes, gives = session.get_inputs(), session.get_outputs()
    _check(takes, "tensor(uint8)", [size, size, channels], f"{path} takes")
    _check(gives[:1], "tensor(float)", [k], f"{path} gives")
    return OnnxRunner(session, path, (size, size, channels), k)


def open_session(path: Path, threads: int) -> Any:
    """A graph, loaded, of which each call takes `threads`. Raises BundleError."""
    import onnxruntime  # late: its memory is not needed while a network is trained

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is raised; the log would say it twice
    # Threads that sleep between two layers are woken a hundred times a picture; threads that spin for longer than a
    # layer lasts take the cores from decoding, and from whatever else the machine does, once the answer is there.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN)
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has an exception class per status code, with Exception alone in common
        raise BundleError(f"{path} could not be loaded ({_first_line(error)}).", "an ONNX graph") from error


class OnnxRunner:
    """A loaded graph: uint8[N, S, S, C] -> float32[N, K].

    Attributes:
        taken: name of the graph's input.
        shape: (S, S, C).
        classes: K.
        given: names of the graph's outputs, the logits first.
    """

    def __init__(self, session: Any, path: Path, shape: tuple[int, int, int], classes: int) -> None:
        self._session, self._path, self.shape, self.classes = session, path, shape, classes
        self.taken = session.get_inputs()[0].name
        self.given = [end.name for end in session.get_outputs()]

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits. Raises BundleError."""
        if not len(pixels):
            return np.zeros((0, self.classes), np.float32)
        return self._run(self.given[:1], pixels)[0]

    def maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """The network's last maps float32[N, F, H, W], or None where the graph gives none. Raises BundleError."""
        return self._run(["maps"], pixels)[0] if "maps" in self.given else None

    def features(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """What the network's head sees, float32[N, F], or None where the graph does not give it. Raises BundleError."""
        if "features" in self.given:
            return self._run(["features"], pixels)[0]
        maps = self.maps(pixels)
        return None if maps is None else maps.mean(axis=(2, 3))

    def _run(self, wanted: list[str], pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == self.shape, (pixels.dtype, pixels.shape)
        try:
            found: list[NDArray[np.float32]] = self._session.run(wanted, {self.taken: pixels})
        except Exception as error:  # ONNX Runtime has an exception class per status code
            raise BundleError(f"{self._path} failed on {len(pixels)} pictures ({_first_line(error)}).") from error
        return found


def _check(ends: list[Any], kind: str, trailing: list[int], what: str) -> None:
    """Hold the one input or output against type and shape, the first dimension being free."""
    shapes = [f"{end.type} {end.shape}" for end in ends]
    if len(ends) != 1 or ends[0].type != kind or ends[0].shape[1:] != trailing or isinstance(ends[0].shape[0], int):
        raise BundleError(f"{what} {', '.join(shapes) or 'nothing'}.", f"{kind} of shape ['n', {str(trailing)[1:]}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

"""An ONNX graph in float32 -> the same graph with its filters and matrices in 8 bits, by ONNX Runtime."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError
from lightmeter.exporters.rounding import round_filters
from lightmeter.nouns.progress import SILENT, Progress

_QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "GlobalAveragePool", "Clip", "Relu")


def quantise(graph: Path, canvases: NDArray[np.uint8], target: Path, progress: Progress = SILENT) -> None:
    """Write `graph`, which takes uint8[N, S, S, C], to `target` with activations and weights of 8 bits.

    Weights get a step for each filter and are rounded together (`rounding.py`). Activations get one for each map: from
    the smallest to the largest value in a picture, on average over `canvases`, some hundred training pictures, since
    what one of them reaches would make the steps of all others coarser. The last layer, which costs next to nothing,
    stays in float32: its answers would be cut where they are surest.

    Raises:
        BundleError: the graph has no such form.
    """
    # Imported here: it takes seconds, and nobody but this verb needs it.
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.onnx"
        with _refused(), _quiet():
            quant_pre_process(str(graph), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
        pixels, grey = _normalise_in_filters(model)
        steps = round_filters(model, canvases, progress)
        onnx.save(model, str(ready))
        told: dict[str, list[dict[str, Any]]] = {
            name: [{"axis": 0, "scale": step, "zero_point": 0} for step in each] for name, each in steps.items()
        }
        if pixels:
            told[pixels] = [{"scale": np.array(1, np.float32), "zero_point": np.array(grey, np.uint8)}]
        progress.say("Taking the ranges of the maps ...")
        with _refused(), _quiet():
            quantize_static(
                str(ready),
                str(target),
                _reader(canvases),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                nodes_to_exclude=_last_layer(model),
                per_channel=True,
                reduce_range=True,  # of what has not been rounded; see MOST in rounding.py
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"CalibMovingAverage": True, "TensorQuantOverrides": told},
            )
    if pixels:
        _take_bytes(target, pixels)
    if not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in onnx.load(str(target)).graph.initializer):
        target.unlink()
        raise _no_such_form("nothing but its last layer has weights, which stays in float32")


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Turn whatever the library raises, which is whatever the libraries below it do, into a BundleError."""
    try:
        yield
    except Exception as error:
        raise _no_such_form(str(error).strip().partition("\n")[0]) from error


def _no_such_form(why: str) -> BundleError:
    return BundleError(
        f"The graph could not be written in 8 bits ({why}).",
        "a graph of convolutions and matrix products",
        "serve the bundle in float32.",
    )


def _normalise_in_filters(model: Any) -> tuple[str, int]:
    """Let the first convolution take pixels less one grey, where it takes (pixels - mean) / std; in place.

    So its input is bytes as they came: rounded by nothing, and neither converted nor divided, which took a fifth of
    an 8-bit graph's time. It is the same but where the convolution pads: there are pixels of that grey now, the byte
    nearest to the mean of all channels, and were of the mean of each.

    Returns:
        The name of what it takes now, and the grey; "" where the graph has no such beginning, and stays as it is.
    """
    from onnx import numpy_helper

    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    users = {
        name: [node for node in graph.node if name in node.input]
        for name in (*tensors, *(name for node in graph.node for name in node.output))
    }
    for minus in graph.node:
        chain = [minus]
        while len(chain) < 3 and len(users[chain[-1].output[0]]) == 1:
            chain += users[chain[-1].output[0]]
        if [node.op_type for node in chain] != ["Sub", "Div", "Conv"]:
            continue
        _, over, filters = chain
        names = [minus.input[1], over.input[1], *filters.input[1:]]
        if over.input[0] != minus.output[0] or any(name not in tensors or len(users[name]) != 1 for name in names):
            continue
        mean, std, weight, *biases = (numpy_helper.to_array(tensors[name]) for name in names)
        if mean.shape != (1, weight.shape[1], 1, 1) or std.shape != mean.shape:  # so it is one group, too
            continue
        weight, grey = weight / std, int(np.clip(np.rint(mean.mean()), 0, 255))
        bias = sum(biases) + (weight * (grey - mean)).sum(axis=(1, 2, 3))
        if not biases:
            names.append(filters.name + "_bias")
            graph.initializer.add().name = names[-1]
            filters.input.append(names[-1])
        tensors = {tensor.name: tensor for tensor in graph.initializer}
        for name, value in zip(names, (np.array(grey), std, weight, bias), strict=True):
            tensors[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
        filters.input[0] = minus.output[0]
        graph.node.remove(over)
        graph.initializer.remove(tensors[names[1]])
        return str(minus.output[0]), grey
    return "", 0


def _take_bytes(path: Path, pixels: str) -> None:
    """Leave out what turns bytes into float32 and back in a graph: Cast, Sub, QuantizeLinear."""
    import onnx

    model = onnx.load(str(path))
    graph = model.graph
    made = {node.output[0]: node for node in graph.node}
    (back,) = (node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == pixels)
    minus = made[pixels]
    cast = made[minus.input[0]]
    if cast.op_type != "Cast":
        return
    for node in graph.node:
        node.input[:] = [cast.input[0] if name == back.output[0] else name for name in node.input]
    for node in (back, minus, cast):  # each but where another node reads what it gives
        if not any(node.output[0] in other.input for other in graph.node):
            graph.node.remove(node)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    onnx.save(model, str(path))


def _last_layer(model: Any) -> list[str]:
    """The name of the last matrix product."""
    return [node.name for node in model.graph.node if node.op_type in ("Gemm", "MatMul")][-1:]


def _reader(canvases: NDArray[np.uint8]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Canvases(CalibrationDataReader):  # type: ignore[misc]  # it ships no types
        """Hands out the canvases one at a time: ranges are averaged over what is handed out."""

        def __init__(self) -> None:
            self.place = 0

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            some = canvases[self.place : self.place + 1]
            self.place += len(some)
            return {"pixels": some} if len(some) else None

    return Canvases()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice to its own developers from the user: it gives it to the root logger, in this thread."""
    here, root = threading.get_ident(), logging.getLogger()
    before = bool(root.handlers)

    def wanted(record: logging.LogRecord) -> bool:
        return record.thread != here or record.levelno >= logging.ERROR

    root.addFilter(wanted)
    try:
        yield
    finally:
        root.removeFilter(wanted)
        if not before and root.handlers:
            root.removeHandler(root.handlers[0])  # `logging.warning` adds one where there is none

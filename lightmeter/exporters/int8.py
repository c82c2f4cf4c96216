"""An ONNX graph in float32 -> the same graph with its filters and matrices in 8 bits, by ONNX Runtime."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError

_QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "GlobalAveragePool", "Clip", "Relu")
_AT_ONCE = 16


def quantise(graph: Path, canvases: NDArray[np.uint8], target: Path) -> None:
    """Write `graph`, which takes uint8[N, S, S, C], to `target` with activations and weights of 8 bits.

    Weights get a scale for each filter, activations one for each map, from the values seen on `canvases`: some
    hundred training pictures.

    Raises:
        BundleError: the graph has no such form.
    """
    # Imported here: it takes seconds, and nobody but this verb needs it.
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        ready = Path(scratch) / "ready.onnx"
        try:
            quant_pre_process(str(graph), str(ready), skip_symbolic_shape=True)
            _normalise_by_convolution(ready)
            quantize_static(
                str(ready),
                str(target),
                _reader(canvases),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                # 7 bits of each weight: processors without VNNI add two products in 16 bits, which 8 overflow, so that
                # the same graph would answer otherwise there (3.6 points fewer right in a test).
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
        except Exception as error:  # it raises whatever the libraries below it do
            raise BundleError(
                f"The graph could not be written in 8 bits ({str(error).strip().partition(chr(10))[0]}).",
                "a graph of convolutions and matrix products",
                "serve the bundle in float32.",
            ) from error


def _normalise_by_convolution(graph: Path) -> None:
    """Write (planes - mean) / std as a convolution with one weight per channel, where a graph has it in two steps.

    In 8 bits the convolutions after it want channels last, and with three values in a row the two steps took a third
    of the graph's time. A single weight has a scale of its own, so that 8 bits hold it exactly.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(graph))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    for place, minus in enumerate(nodes):
        users = [node for node in nodes if minus.output[0] in node.input]
        if minus.op_type != "Sub" or [node.op_type for node in users] != ["Div"]:
            continue
        (over,) = users
        mean, std = constants.get(minus.input[1]), constants.get(over.input[1])
        if over.input[0] != minus.output[0] or mean is None or std is None or mean.shape != std.shape:
            continue
        channels = mean.size
        if mean.shape != (1, channels, 1, 1):
            continue
        weight, bias = over.output[0] + "_weight", over.output[0] + "_bias"
        model.graph.initializer.extend(
            [
                numpy_helper.from_array((1 / std).reshape(channels, 1, 1, 1), weight),
                numpy_helper.from_array((-mean / std).reshape(channels), bias),
            ]
        )
        made = helper.make_node("Conv", [minus.input[0], weight, bias], [over.output[0]], group=channels)
        model.graph.node.remove(minus)
        model.graph.node.remove(over)
        model.graph.node.insert(place, made)
        read = {name for node in model.graph.node for name in node.input}
        for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
            model.graph.initializer.remove(tensor)
        onnx.save(model, str(graph))
        return


def _reader(canvases: NDArray[np.uint8]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Canvases(CalibrationDataReader):  # type: ignore[misc]  # it ships no types
        """Hands out the canvases a few at a time."""

        def __init__(self) -> None:
            self.place = 0

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            some = canvases[self.place : self.place + _AT_ONCE]
            self.place += len(some)
            return {"pixels": some} if len(some) else None

    return Canvases()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice to its own developers from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

"""Filters -> the same in 8 bits, where each that is rounded makes up for what rounding the ones before it changed.

The nearest whole number is best for a weight alone. What counts is the sum over a filter, and the weights not yet
rounded can take back most of its error where their inputs move together: optimal brain surgery (Hassibi and Stork,
1993), by the Cholesky factor of the inverse second moments, as in GPTQ (Frantar and others, 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.progress import SILENT, Progress

MOST = 64
"""Of a rounded weight's absolute value. A processor without VNNI adds two products of an unsigned and a signed byte in
16 bits: 2 * 255 * 64 is the most that they hold, so that a graph answers alike everywhere."""

ALONE = 127
"""The same where each filter sees a channel of its own: ONNX Runtime adds those products in 32 bits on every processor
(`MlasConvDepthwiseKernel`, `DepthwiseMultiplyAccumulateCellAvx2`)."""

_POSITIONS = 64  # of a map that are looked at in each picture
_LARGEST = 4608  # inputs of a filter: up to there rounding one layer takes no more than about a GiB
_DAMPED = 0.01  # of the mean second moment, added to each: what was never seen is not relied on
_BLOCK = 64
_AT_ONCE = 4

Array = NDArray[np.float64]


def round_filters(
    model: Any, canvases: NDArray[np.uint8], progress: Progress = SILENT
) -> dict[str, NDArray[np.float32]]:
    """Put the filters of each convolution in an ONNX `model` on a grid, a step for each, in place.

    Args:
        model: an `onnx.ModelProto` that takes `pixels`, uint8[N, S, S, C].
        canvases: what it is to be right on, some hundred.

    Returns:
        Name of the weights -> the steps of its filters, float32[filters].
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {node.input[1]: _Convolution.of(node, tensors) for node in model.graph.node if _has_filters(node, tensors)}
    _look(model, list(found.values()), canvases, progress)
    steps = {}
    with progress.track("rounding filters", len(found), "layers") as advance:
        for name in list(found):
            one = found.pop(name)  # and its moments with it
            shape = one.shape
            most = ALONE if len(one.weight) == shape[0] > 1 and shape[1] == 1 else MOST
            step = np.maximum(np.abs(one.weight).max(axis=2), 1e-12) / most
            whole = rounded(one.weight / step[:, :, None], one.moments.astype(np.float64), most)
            values = (whole * step[:, :, None]).reshape(shape).astype(np.float32)
            tensors[name].CopyFrom(numpy_helper.from_array(values, name))
            steps[name] = step.reshape(shape[0]).astype(np.float32)
            advance(1)
    return steps


def rounded(weight: Array, moments: Array, most: int) -> Array:
    """Whole numbers of at most `most`, such that sums of inputs times them change little.

    Args:
        weight: [groups, filters, inputs], in steps of the grid.
        moments: [groups, inputs, inputs], sums of products of inputs.
    """
    inputs = weight.shape[2]
    damped = moments.copy()
    places = np.arange(inputs)
    mean = damped[:, places, places].mean(axis=1)
    damped[:, places, places] += (_DAMPED * mean + (mean == 0))[:, None]
    factor = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left, whole = weight.copy(), np.empty_like(weight)
    for start in range(0, inputs, _BLOCK):  # what comes after a block is mended once for all of it
        stop = min(inputs, start + _BLOCK)
        errors = np.empty((*weight.shape[:2], stop - start))
        for place in range(start, stop):
            whole[:, :, place] = np.clip(np.rint(left[:, :, place]), -most, most)
            error = (left[:, :, place] - whole[:, :, place]) / factor[:, None, place, place]
            left[:, :, place + 1 : stop] -= error[:, :, None] * factor[:, None, place, place + 1 : stop]
            errors[:, :, place - start] = error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return whole


@dataclass(eq=False)
class _Convolution:
    """A convolution, and what was seen of its inputs.

    Attributes:
        reads: name of the maps that it takes.
        shape: of its weights as they stand in the graph, [filters, inputs of a group, height, width].
        weight: float64[groups, filters of a group, inputs of a filter].
        moments: float32[groups, inputs of a filter, inputs of a filter].
    """

    reads: str
    shape: tuple[int, ...]
    weight: Array
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    moments: NDArray[np.float32]

    @staticmethod
    def of(node: Any, tensors: dict[str, Any]) -> _Convolution:
        from onnx import helper, numpy_helper

        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = numpy_helper.to_array(tensors[node.input[1]]).astype(np.float64)
        groups, inputs = given.get("group", 1), int(np.prod(weight.shape[1:]))
        return _Convolution(
            node.input[0],
            weight.shape,
            weight.reshape(groups, -1, inputs),
            tuple(given.get("strides", (1, 1))),
            tuple(given.get("dilations", (1, 1))),
            tuple(given.get("pads", (0, 0, 0, 0))),
            np.zeros((groups, inputs, inputs), np.float32),
        )

    def see(self, maps: NDArray[np.float32], draw: np.random.Generator) -> None:
        """Add the products of the inputs at some places of maps float32[N, C, H, W]."""
        top, left, bottom, right = self.pads
        maps = np.pad(maps, ((0, 0), (0, 0), (top, bottom), (left, right)))
        n, channels, height, width = maps.shape
        tall, wide = self.shape[2:]
        rows = (height - self.dilations[0] * (tall - 1) - 1) // self.strides[0] + 1
        columns = (width - self.dilations[1] * (wide - 1) - 1) // self.strides[1] + 1
        chosen = draw.permutation(rows * columns)[:_POSITIONS]
        y, x = chosen // columns * self.strides[0], chosen % columns * self.strides[1]
        down, along = np.divmod(np.arange(tall * wide), wide)
        windows = maps[
            :, :, y[:, None] + down * self.dilations[0], x[:, None] + along * self.dilations[1]
        ]  # [N, C, places, taps]
        groups = len(self.weight)
        inputs = windows.reshape(n, groups, channels // groups, len(chosen), tall * wide)
        inputs = inputs.transpose(1, 0, 3, 2, 4).reshape(groups, n * len(chosen), -1)
        self.moments += inputs.transpose(0, 2, 1) @ inputs


def _has_filters(node: Any, tensors: dict[str, Any]) -> bool:
    """Whether a node is a convolution in two directions with weights of its own."""
    if node.op_type != "Conv" or node.input[1] not in tensors:
        return False
    dims = list(tensors[node.input[1]].dims)
    return len(dims) == 4 and int(np.prod(dims[1:])) <= _LARGEST


def _look(model: Any, convolutions: list[_Convolution], canvases: NDArray[np.uint8], progress: Progress) -> None:
    """Run the graph and let each convolution see what it takes."""
    if not convolutions:
        return
    import onnx
    import onnxruntime

    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.output[:]
    names = sorted({one.reads for one in convolutions})
    whole.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    with progress.track("looking at what filters take", len(canvases), "images") as advance:
        for start in range(0, len(canvases), _AT_ONCE):
            some = canvases[start : start + _AT_ONCE]
            seen = dict(zip(names, session.run(names, {"pixels": some}), strict=True))
            for one in convolutions:
                one.see(seen[one.reads], draw)
            advance(len(some))

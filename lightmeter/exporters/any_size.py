"""A graph that takes canvases -> one that takes pictures of any size and resizes them itself, as Pillow would.

Pillow's bilinear filter is a sum of source pixels with weights that fall off as a triangle as wide as a canvas pixel,
one axis after the other. For pictures of one size that is a matrix for each axis, which the graph works out from the
picture's shape. The operators are the plainest there are, so that any runtime computes them, and the result lies
within a grey level of Pillow's; `Resize` with antialiasing counts what lies outside the cropped part differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightmeter.nouns.preprocess import Preprocess

PICTURES = "pictures"
CANVASES = "canvases"
PROBABILITIES = "probabilities"


def any_size(graph: Any, preprocess: Preprocess, temperature: float) -> Any:
    """An `onnx.ModelProto` uint8[N, S, S, C] -> logits, made into one uint8[N, H, W, C] -> logits and more.

    Further outputs are "probabilities" float32[N, K], with the temperature, and "canvases" uint8[N, S, S, C], what the
    network saw. All pictures of a batch have one size, are upright and have no alpha.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(graph)
    taken, logits = model.graph.input[0].name, model.graph.output[0]
    steps = _Steps(taken)
    _resize(steps, preprocess)
    channels = preprocess.channels
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info(PICTURES, TensorProto.UINT8, ["n", "h", "w", channels]))
    scale = helper.make_tensor("any_size/temperature", TensorProto.FLOAT, [], [temperature])
    after = [
        helper.make_node("Div", [logits.name, scale.name], ["any_size/scaled"]),
        helper.make_node("Softmax", ["any_size/scaled"], [PROBABILITIES], axis=-1),
        helper.make_node("Identity", [taken], [CANVASES]),
    ]
    nodes = [*steps.nodes, *model.graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*steps.constants, scale])
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    side = preprocess.size
    del model.graph.output[:]
    model.graph.output.extend(
        [
            logits,
            helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["n", classes]),
            helper.make_tensor_value_info(CANVASES, TensorProto.UINT8, ["n", side, side, channels]),
        ]
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Steps:
    """Nodes one after another, each with one output; `result` is the name that the last one gives."""

    def __init__(self, result: str) -> None:
        self.result = result
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: str | float | Sequence[int], name: str = "", **attributes: Any) -> str:
        """Add a node; a number becomes a constant float32, a sequence a constant int64[n]. The output's name."""
        from onnx import helper

        names = [entry if isinstance(entry, str) else self._constant(entry) for entry in inputs]
        name = name or f"any_size/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [name], **attributes))
        return name

    def _constant(self, value: float | Sequence[int]) -> str:
        from onnx import numpy_helper

        array = np.float32(value) if isinstance(value, int | float) else np.asarray(value, np.int64)
        name = f"any_size/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name


def _resize(steps: _Steps, preprocess: Preprocess) -> None:
    """uint8[N, H, W, C] to uint8[N, S, S, C], by the rules of `Preprocess._geometry`."""
    from onnx import TensorProto

    side, channels, f32 = preprocess.size, preprocess.channels, TensorProto.FLOAT
    height, width = (
        steps("Squeeze", steps("Cast", steps("Shape", PICTURES, start=axis, end=axis + 1), to=f32)) for axis in (1, 2)
    )
    shorter, longer = steps("Min", height, width), steps("Max", height, width)
    axes = []
    for length in (height, width):
        inner: str | float = float(side)
        if preprocess.fit == "pad":
            inner = steps("Max", steps("Round", steps("Div", steps("Mul", length, float(side)), longer)), 1.0)
        part = shorter if preprocess.fit == "crop" else length
        first = steps("Mul", steps("Sub", length, part), 0.5)
        axes.append(_weights(steps, length, part, first, inner, side))
    (down, covered_down), (across, covered_across) = axes
    pixels = steps("Cast", PICTURES, to=f32)
    # First along the columns: [S, H] x [N, H, W * C], then [N, S, C, W] x [W, S].
    flat = steps("Reshape", pixels, steps("Concat", steps("Shape", PICTURES, start=0, end=2), [-1], axis=0))
    rows = steps("MatMul", down, flat)
    shape = steps("Concat", [0, side], steps("Shape", PICTURES, start=2, end=4), axis=0)
    planes = steps("Transpose", steps("Reshape", rows, shape), perm=[0, 1, 3, 2])
    resized = steps("MatMul", planes, steps("Transpose", across, perm=[1, 0]))
    canvas = steps("Transpose", resized, perm=[0, 1, 3, 2])
    if preprocess.fit == "pad":
        canvas = steps("Add", canvas, _background(steps, preprocess, covered_down, covered_across))
    bounded = steps("Clip", steps("Round", canvas), 0.0, 255.0)
    whole = steps("Cast", bounded, to=TensorProto.UINT8)
    steps("Reshape", whole, [-1, side, side, channels], name=steps.result)


def _weights(steps: _Steps, length: str, part: str, first: str, inner: str | float, side: int) -> tuple[str, str]:
    """Weights float32[S, length] of one axis, and 1 or 0 for each canvas pixel [S, 1]: whether any picture is there.

    Args:
        length, part, first: of the axis: all of it, how much of it goes into the canvas, and from where on.
        inner: canvas pixels that it goes into, in the middle of `side`.
    """
    from onnx import TensorProto

    step = steps("Div", part, inner)  # source pixels for one of the canvas
    corner = steps("Floor", steps("Mul", steps("Sub", float(side), inner), 0.5))
    place = steps("Sub", steps("Unsqueeze", steps("Range", 0.0, float(side), 1.0), [1]), corner)
    middle = steps("Add", first, steps("Mul", steps("Add", place, 0.5), step))
    source = steps("Add", steps("Unsqueeze", steps("Range", 0.0, length, 1.0), [0]), 0.5)
    away = steps("Div", steps("Abs", steps("Sub", source, middle)), steps("Max", step, 1.0))
    triangle = steps("Relu", steps("Sub", 1.0, away))
    inside = steps("And", steps("GreaterOrEqual", place, 0.0), steps("Less", place, inner))
    covered = steps("Cast", inside, to=TensorProto.FLOAT)
    total = steps("Max", steps("ReduceSum", triangle, [1], keepdims=1), 1e-6)
    return steps("Mul", steps("Div", triangle, total), covered), covered


def _background(steps: _Steps, preprocess: Preprocess, down: str, across: str) -> str:
    """The background where no picture is, [S, S, C]."""
    from onnx import TensorProto

    covered = steps("Mul", down, steps("Transpose", across, perm=[1, 0]))
    bare = steps("Unsqueeze", steps("Sub", 1.0, covered), [2])
    red, green, blue = preprocess.background
    grey = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16  # as Pillow turns a colour into grey
    levels = preprocess.background if preprocess.channels == 3 else (grey,)
    return steps("Mul", bare, steps("Cast", list(levels), to=TensorProto.FLOAT))

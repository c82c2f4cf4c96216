"""Pictures of any size in one graph, against Pillow."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from lightmeter.exporters.any_size import any_size
from lightmeter.nouns.preprocess import Preprocess

Fit = Literal["crop", "pad", "squash"]


def sums(side: int, channels: int) -> onnx.ModelProto:
    """A graph of canvases uint8[N, S, S, C] whose logits are the sums of its channels, and of the first one twice."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["logits"], keepdims=0),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])
    takes = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", side, side, channels])
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", channels])
    graph = helper.make_graph(nodes, "sums", [takes], [gives], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(preprocess: Preprocess, pictures: np.ndarray, temperature: float = 1.0) -> list[Any]:
    model = any_size(sums(preprocess.size, preprocess.channels), preprocess, temperature)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(["logits", "probabilities", "canvases"], {"pictures": pictures})
    return found


def picture(width: int, height: int, channels: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (height // 5 + 2, width // 5 + 2, 3), np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    return image if channels == 3 else image.convert("L")


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("width", "height"), [(333, 500), (501, 334), (32, 32), (20, 31), (9, 70), (640, 481), (33, 32), (1, 5)]
)
def test_canvases_are_pillows_to_a_grey_level(fit: Fit, channels: Literal[1, 3], width: int, height: int) -> None:
    preprocess = Preprocess(size=32, channels=channels, fit=fit, background=(10, 200, 77))
    image = picture(width, height, channels)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    expected = preprocess.canvas(stream.getvalue()).pixels
    whole = preprocess.upright(stream.getvalue())
    assert whole.shape == (height, width, channels)
    logits, _, canvases = run(preprocess, whole[None])
    assert canvases.dtype == np.uint8
    assert np.abs(canvases[0].astype(int) - expected).max() <= 1
    np.testing.assert_allclose(logits[0], canvases[0].mean(axis=(0, 1)), rtol=1e-5)


def test_a_batch_is_its_pictures_one_by_one_and_probabilities_have_the_temperature() -> None:
    preprocess = Preprocess(size=16, channels=3)
    pictures = np.stack([np.asarray(picture(50, 41, 3)), np.asarray(picture(50, 41, 3).transpose(0))])
    logits, probabilities, canvases = run(preprocess, pictures, temperature=20.0)
    for row in range(2):
        alone = run(preprocess, pictures[row : row + 1], temperature=20.0)
        np.testing.assert_array_equal(canvases[row], alone[2][0])
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / 20)
    np.testing.assert_allclose(probabilities, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)

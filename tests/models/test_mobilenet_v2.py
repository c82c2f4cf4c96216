"""MobileNetV2 is the one that torchvision publishes, and its published weights see."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.base import freeze
from lightmeter.models.mobilenet_v2 import _KerasBorders, _make_divisible
from lightmeter.models.pretrained import architecture_of, load_start
from lightmeter.models.table import count, layer_table
from lightmeter.nouns.preprocess import Preprocess

WEIGHTS = "mobilenet_v2_1.0_imagenet_backbone.safetensors"


@pytest.mark.parametrize(("width", "parameters"), [(1.0, 3_504_872), (0.5, 1_968_680), (1.4, 6_108_776)])
def test_sizes_are_the_published_ones(width: float, parameters: int) -> None:
    with torch.device("meta"):
        model = MODELS["mobilenet_v2"](1000, channels=3, size=224, width=width)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("value", "expected"), [(3, 8), (8, 8), (11.2, 16), (16.8, 16), (22.4, 24), (44.8, 48), (33, 32)]
)
def test_filters_are_rounded_to_eight_without_losing_a_tenth(value: float, expected: int) -> None:
    assert _make_divisible(value) == expected


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = MODELS["mobilenet_v2"](1000, channels=3, size=224).state_dict()
    assert state["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert state["features.1.conv.0.0.weight"].shape == (32, 1, 3, 3)  # the first block does not widen
    assert state["features.1.conv.1.weight"].shape == (16, 32, 1, 1)
    assert state["features.2.conv.0.0.weight"].shape == (96, 16, 1, 1)
    assert state["features.17.conv.2.weight"].shape == (320, 960, 1, 1)
    assert state["features.18.1.running_mean"].shape == (1280,)
    assert state["classifier.1.weight"].shape == (1000, 1280)
    assert len([key for key in state if "normalise" not in key]) == 314


def test_the_published_head_on_a_frozen_base_has_the_counts_of_keras() -> None:
    """Global mean, a dense layer of 64, dropout, 10 classes, as in a published run on Imagenette at 160 pixels."""
    with torch.device("meta"):
        model = MODELS["mobilenet_v2"](10, channels=3, size=160, hidden=64, dropout=0.2)
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert count(model).total - count(model.head).total == 2_257_984
    freeze(model, ("all",))
    counts = count(model)
    assert (counts.total, counts.trainable, counts.non_trainable) == (2_340_618, 82_634, 2_257_984)
    shapes = {row.name: row.shape for row in layer_table(model).rows}
    assert (shapes["features.18.2"], shapes["features.mean"]) == ((5, 5, 1280), (1280,))


def test_dropout_works_in_training_alone() -> None:
    model = MODELS["mobilenet_v2"](4, channels=3, size=32, width=0.25, dropout=0.5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    pixels = torch.full((1, 32, 32, 3), 100, dtype=torch.uint8)
    assert not torch.equal(model(pixels), model(pixels))
    model.eval()
    assert torch.equal(model(pixels), model(pixels))


@pytest.mark.parametrize("side", [5, 6, 32, 33])
def test_keras_borders_are_those_of_its_same_padding(side: int) -> None:
    convolution = _KerasBorders(2, 3, 3, stride=2, padding=1, bias=False)
    x = torch.randn(1, 2, side, side)
    outputs = -(-side // 2)
    total = (outputs - 1) * 2 + 3 - side  # TensorFlow's rule: what is odd of it goes to the end
    before, after = total // 2, total - total // 2
    slow = torch.zeros(1, 3, outputs, outputs)
    padded = torch.zeros(1, 2, side + total, side + total)
    padded[:, :, before : before + side, before : before + side] = x
    assert padded.shape[2] == side + before + after
    for row in range(outputs):
        for column in range(outputs):
            window = padded[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            slow[0, :, row, column] = (convolution.weight * window).sum(dim=(1, 2, 3))
    torch.testing.assert_close(convolution(x), slow)


def test_borders_are_an_option_without_parameters() -> None:
    plain, keras = (
        MODELS["mobilenet_v2"](4, channels=3, size=32, width=0.25, borders=borders).eval()
        for borders in ("torchvision", "keras")
    )
    keras.load_state_dict(plain.state_dict())
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    assert not torch.equal(keras(pixels), plain(pixels))
    with pytest.raises(RecipeError, match="no borders 'tensorflow'"):
        MODELS["mobilenet_v2"](4, channels=3, size=32, borders="tensorflow")


def _some(folder: Path, each: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    preprocess = Preprocess(size=160, channels=3)
    pixels, labels = [], []
    for label, name in enumerate(sorted(child.name for child in folder.iterdir())):
        for path in islice(sorted((folder / name).iterdir()), each):
            pixels.append(preprocess.canvas(path.read_bytes()).pixels)
            labels.append(label)
    return torch.from_numpy(np.stack(pixels)), np.array(labels)


@pytest.mark.data
def test_a_linear_probe_on_published_weights_tells_imagenette_apart(named_set: Callable[[str], Path]) -> None:
    from sklearn.linear_model import LogisticRegression

    path, folder = named_set("weights") / WEIGHTS, named_set("imagenette")
    assert architecture_of(path) == "mobilenet_v2"
    model = MODELS["mobilenet_v2"](10, channels=3, size=160).eval()
    report = load_start(model, path)
    assert len(report.loaded) == 260  # every tensor of the file
    assert report.unexpected == ()

    @torch.inference_mode()
    def features(pixels: torch.Tensor) -> NDArray[np.float32]:
        return torch.cat([model.features(part) for part in pixels.split(50)]).numpy()

    pixels, labels = _some(folder / "train", 25)
    test_pixels, test_labels = _some(folder / "val", 25)
    train, test = features(pixels), features(test_pixels)
    mean, deviation = train.mean(axis=0), train.std(axis=0) + 1e-6
    probe = LogisticRegression(C=0.01, max_iter=200).fit((train - mean) / deviation, labels)
    accuracy = probe.score((test - mean) / deviation, test_labels)
    # Seen: 0.93 with 500 pictures of each split; 0.41 where pixels come in 0..1. Chance is 0.1.
    assert accuracy >= 0.90, accuracy

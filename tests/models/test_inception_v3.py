"""InceptionV3 is the one that torchvision publishes, and with `scale=False` the one that Keras builds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.models import MODELS
from lightmeter.models.base import Model, freeze


def build(classes: int = 4, *, size: int = 80, width: float = 0.125, **options: object) -> Model:
    return MODELS["inception_v3"](classes, channels=3, size=size, width=width, **options)


def counts(model: Model) -> tuple[int, int]:
    """(trainable, not) as Keras counts them: BatchNorm's running values are parameters that are not trained."""
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    kept = sum(value.numel() for name, value in model.named_buffers() if "running_" in name)
    return trainable, sum(parameter.numel() for parameter in model.parameters()) - trainable + kept


def test_counts_are_those_of_the_published_experiment() -> None:
    with torch.device("meta"):
        model = build(200, size=150, width=1.0, hidden=1024, scale=False)
    freeze(model, ("all",))
    trainable, fixed = counts(model)
    assert (trainable + fixed, trainable, fixed) == (24_105_960, 2_303_176, 21_802_784)
    channels = sum(layer.num_features for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    assert channels == 17_216


def test_with_scale_it_is_torchvisions_without_the_auxiliary_classifier() -> None:
    with torch.device("meta"):
        model = build(1000, size=299, width=1.0)
    assert sum(parameter.numel() for parameter in model.parameters()) == 27_161_264 - 3_326_696
    state = model.state_dict()
    assert state["Conv2d_1a_3x3.conv.weight"].shape == (32, 3, 3, 3)
    assert state["Mixed_5b.branch5x5_2.bn.running_var"].shape == (64,)
    assert state["Mixed_6b.branch7x7_2.conv.weight"].shape == (128, 128, 1, 7)
    assert state["Mixed_6b.branch7x7dbl_2.conv.weight"].shape == (128, 128, 7, 1)
    assert state["Mixed_7a.branch7x7x3_4.conv.weight"].shape == (192, 192, 3, 3)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert len([name for name in state if "normalise" not in name]) == 94 * 6 + 2


def test_batchnorm_is_as_published() -> None:
    assert {layer.eps for layer in build().modules() if isinstance(layer, nn.BatchNorm2d)} == {1e-3}


def test_without_scale_nothing_but_the_shift_is_learnt_and_the_file_holds_no_scale() -> None:
    model = build(scale=False)
    assert not [name for name in model.state_dict() if name.endswith("bn.weight")]
    norm = model.get_submodule("Conv2d_1a_3x3.bn")
    assert [name for name, _ in norm.named_parameters()] == ["bias"]
    torch.nn.functional.cross_entropy(model(torch.zeros(2, 80, 80, 3)), torch.tensor([0, 1])).backward()
    assert norm.get_parameter("bias").grad is not None


@pytest.mark.parametrize("scale", [True, False])
def test_means_at_the_border_count_what_their_origin_counts(scale: bool) -> None:
    pool = build(scale=scale).get_submodule("Mixed_5b.pool")
    corner = pool(torch.ones(1, 1, 5, 5))[0, 0, 0, 0]
    assert corner == (pytest.approx(4 / 9) if scale else 1.0)


def test_pixels_come_to_between_minus_one_and_one_as_torchvision_turns_them() -> None:
    pixels = torch.tensor([0, 255, 100], dtype=torch.uint8).expand(1, 1, 1, 3)
    seen = build().get_submodule("normalise")(pixels).flatten()
    # torchvision normalises with ImageNet's constants, and its `transform_input` turns that back.
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (torch.tensor([0.0, 1.0, 100 / 255]) - mean) / deviation
    torch.testing.assert_close(seen, normalised * (deviation / 0.5) + (mean - 0.5) / 0.5)
    assert (seen.min(), seen.max()) == (-1, 1)

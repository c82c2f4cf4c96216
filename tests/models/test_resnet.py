"""ResNets are those that torchvision publishes, but for the stem of small pictures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS
from lightmeter.models.resnet import ResNet
from lightmeter.models.table import count, layer_table


def build(name: str, **options: object) -> ResNet:
    settings = {"num_classes": 1000, "channels": 3, "size": 224, **options}
    with torch.device("meta"):
        model = MODELS[name](**settings)
    assert isinstance(model, ResNet)
    return model


@pytest.mark.parametrize(
    ("name", "parameters", "tensors"),
    [("resnet18", 11_689_512, 122), ("resnet34", 21_797_672, 218), ("resnet50", 25_557_032, 320)],
)
def test_sizes_are_the_published_ones(name: str, parameters: int, tensors: int) -> None:
    model = build(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len([key for key in model.state_dict() if not key.startswith("normalise.")]) == tensors


def test_names_are_the_published_ones() -> None:
    keys = set(build("resnet50").state_dict())
    assert keys >= {
        "conv1.weight",
        "bn1.running_var",
        "layer1.0.conv1.weight",
        "layer1.0.downsample.0.weight",
        "layer1.0.downsample.1.num_batches_tracked",
        "layer3.5.bn3.bias",
        "layer4.2.conv3.weight",
        "fc.weight",
        "fc.bias",
    }
    assert "layer1.0.downsample.0.weight" not in build("resnet18").state_dict()


def test_shapes_are_the_published_ones() -> None:
    state = build("resnet50").state_dict()
    assert state["conv1.weight"].shape == (64, 3, 7, 7)
    assert state["layer2.0.conv1.weight"].shape == (128, 256, 1, 1)
    assert state["layer2.0.conv2.weight"].shape == (128, 128, 3, 3)
    assert state["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert state["fc.weight"].shape == (1000, 2048)
    strides = {
        name: module.stride for name, module in build("resnet50").named_modules() if isinstance(module, nn.Conv2d)
    }
    assert strides["layer2.0.conv2"] == (2, 2)
    assert strides["layer2.0.conv1"] == (1, 1)


def test_batchnorm_has_the_published_constants() -> None:
    norms = [module for module in build("resnet18").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def test_a_plain_rendering_of_the_paper_agrees() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS["resnet18"](4, channels=3, size=96, width=0.25).eval()
        pixels = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    state, functional = model.state_dict(), nn.functional

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.batch_norm(
            x,
            state[f"{name}.running_mean"],
            state[f"{name}.running_var"],
            state[f"{name}.weight"],
            state[f"{name}.bias"],
        )

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((pixels / 255.0 - mean) / std).permute(0, 3, 1, 2)
    x = functional.relu(norm(functional.conv2d(x, state["conv1.weight"], stride=2, padding=3), "bn1"))
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        for position in (0, 1):
            block, stride = f"layer{stage}.{position}", 2 if stage > 1 and position == 0 else 1
            out = functional.conv2d(x, state[f"{block}.conv1.weight"], stride=stride, padding=1)
            out = functional.relu(norm(out, f"{block}.bn1"))
            out = norm(functional.conv2d(out, state[f"{block}.conv2.weight"], padding=1), f"{block}.bn2")
            if f"{block}.downsample.0.weight" in state:
                x = functional.conv2d(x, state[f"{block}.downsample.0.weight"], stride=stride)
                x = norm(x, f"{block}.downsample.1")
            x = functional.relu(out + x)
    expected = functional.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])
    torch.testing.assert_close(model(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "kernel"), [(32, 3), (64, 3), (65, 7), (224, 7)])
def test_the_stem_follows_the_size(size: int, kernel: int) -> None:
    assert build("resnet18", size=size).conv1.kernel_size == (kernel, kernel)


def test_the_stem_can_be_stated() -> None:
    assert build("resnet18", size=32, stem="imagenet").conv1.kernel_size == (7, 7)
    assert build("resnet18", size=224, stem="small").conv1.kernel_size == (3, 3)
    with pytest.raises(RecipeError, match="no stem 'tiny'"):
        build("resnet18", stem="tiny")


def test_the_small_stem_keeps_the_resolution() -> None:
    model = MODELS["resnet18"](4, channels=1, size=32, width=0.125).eval()
    sides = []
    model.get_submodule("layer1").register_forward_hook(lambda module, inputs, output: sides.append(output.shape[2]))
    model(torch.zeros(1, 32, 32, 1, dtype=torch.uint8))
    assert sides == [32]


def test_zero_init_starts_each_residual_branch_at_zero() -> None:
    plain = MODELS["resnet50"](4, channels=3, size=32, width=0.125)
    zeroed = MODELS["resnet50"](4, channels=3, size=32, width=0.125, zero_init=True)
    assert plain.get_parameter("layer1.1.bn3.weight").min() == 1
    assert zeroed.get_parameter("layer1.1.bn3.weight").abs().max() == 0
    assert zeroed.get_parameter("layer1.1.bn2.weight").min() == 1


def test_filters_start_at_the_published_scale() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weight = MODELS["resnet18"](4, channels=3, size=32).get_parameter("layer3.0.conv2.weight")
    assert weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_the_bottlenecks_on_fashion_mnist_are_counted_as_keras_counts_them_but_for_its_biases() -> None:
    """Our count, then Keras' from it, for grey pictures of 10 classes and for 3 channels without the top.

    Keras gives each convolution of its ResNet-50 a bias (which the BatchNorm after it makes idle), torchvision and the
    paper's authors do not, and nor do we: 23,575,370 values here (53,120 of them running statistics) are 23,601,930 in
    Keras. Its well-known 23,587,712 without the top is our base and one bias for each of 26,560 filters.
    """
    grey = build("resnet50", num_classes=10, channels=1, size=28, stem="imagenet")
    counts = count(grey)
    assert (counts.total, counts.trainable, counts.non_trainable) == (23_575_370, 23_522_250, 53_120)

    def idle_biases(model: nn.Module) -> int:
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        assert all(convolution.bias is None for convolution in convolutions)
        return sum(convolution.out_channels for convolution in convolutions)

    assert counts.total + idle_biases(grey) == 23_601_930
    colour = build("resnet50", num_classes=10, stem="imagenet")
    without_top = count(colour).total - count(colour.head).total
    assert (without_top, idle_biases(colour)) == (23_561_152, 26_560)
    assert without_top + idle_biases(colour) == 23_587_712


def test_the_stem_of_imagenet_pools_before_the_first_stage() -> None:
    with torch.device("meta"):
        model = MODELS["resnet50"](10, channels=1, size=28, stem="imagenet")
    shapes = {row.name: row.shape for row in layer_table(model).rows}
    assert shapes["conv1"] == (14, 14, 64)
    assert shapes["layer1.0.conv1"] == (7, 7, 64)  # after 3x3/2
    assert shapes["layer4.2.conv3"] == (1, 1, 2048)


@pytest.mark.parametrize(("stride", "first", "second"), [("3x3", 1, 2), ("1x1", 2, 1)])
def test_the_filter_that_halves_the_map_is_an_option_of_resnet50(stride: str, first: int, second: int) -> None:
    model = MODELS["resnet50"](4, channels=3, size=32, width=0.125, stride=stride)
    block = model.get_submodule("layer2.0")
    assert [block.get_submodule(name).stride for name in ("conv1", "conv2")] == [(first, first), (second, second)]
    assert model(torch.zeros(2, 32, 32, 3)).shape == (2, 4)
    with pytest.raises(RecipeError, match="no stride '2x2'"):
        MODELS["resnet50"](4, channels=3, size=32, stride="2x2")

"""Weights written in the naming schemes that others publish, from models of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from lightmeter.models.base import Model

Variables = dict[str, Tensor]


def stir(model: Model) -> Model:
    """Give BatchNorm statistics and parameters that differ from their first values, so that a mistake shows."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.8, 1.2)
                layer.bias.normal_(0, 0.1)
            elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias.normal_(0, 0.1)
    return model.eval()


def torchvision_state(model: Model) -> dict[str, Tensor]:
    """The state dict as torchvision has it: no pixel constants."""
    return {name: value for name, value in model.state_dict().items() if "normalise." not in name}


def kernel(layer: nn.Conv2d, *, bgr: bool = False) -> Variables:
    """Filters as Keras keeps them: (height, width, in, out), depthwise ones (height, width, in, 1)."""
    weight = layer.weight.detach()
    if layer.groups > 1:
        return {"depthwise_kernel": weight.permute(2, 3, 0, 1)}
    found = {"kernel": (weight.flip(1) if bgr else weight).permute(2, 3, 1, 0)}
    return found if layer.bias is None else {**found, "bias": layer.bias.detach()}


def norm(layer: nn.BatchNorm2d, *, scale: bool = True) -> Variables:
    """BatchNorm's variables in Keras' order."""
    assert layer.running_mean is not None and layer.running_var is not None
    gamma = {"gamma": layer.weight.detach()} if scale else {}
    statistics = {"moving_mean": layer.running_mean, "moving_variance": layer.running_var}
    return {**gamma, "beta": layer.bias.detach(), **statistics}


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]


def write_h5(path: Path, layers: dict[str, Variables], *, old: bool = False, nested: bool = False) -> Path:
    """Keras' layout: one group per layer (also those without weights), names in attributes.

    Args:
        old: variables as Keras 1 named them, block1_conv1_W_1:0.
        nested: a whole saved model, with its weights in a group.
    """
    plain = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}
    with h5py.File(path, "w") as file:
        top = file.create_group("model_weights") if nested else file
        top.attrs["layer_names"] = np.array([b"input_1", *(name.encode() for name in layers)])
        top.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, variables in layers.items():
            group = top.create_group(name)
            named = {
                f"{name}_{plain.get(kind, kind)}_1:0" if old else f"{name}/{kind}:0": value
                for kind, value in variables.items()
            }
            group.attrs["weight_names"] = np.array([full.encode() for full in named])
            for full, value in named.items():
                group.create_dataset(full, data=value.numpy())
    return path


def mobilenet_layers(model: Model, *, first_release: bool = False) -> dict[str, Variables]:
    """In the order in which Keras makes them."""

    def names() -> Iterator[tuple[str, str]]:
        yield "Conv1", "bn_Conv1"
        for block in range(17):
            for kind in ("expand", "depthwise", "project"):
                if block == 0 and kind == "expand":
                    continue
                if first_release:
                    yield f"mobl{block}_conv_{block}_{kind}", f"bn{block}_conv_{block}_bn_{kind}"
                else:
                    prefix = f"block_{block}_" if block else "expanded_conv_"
                    yield f"{prefix}{kind}", f"{prefix}{kind}_BN"
        yield "Conv_1", "Conv_1_bn"

    layers: dict[str, Variables] = {}
    for (filters, normed), conv, bn in zip(names(), convolutions(model), norms(model), strict=True):
        layers[filters], layers[normed] = kernel(conv), norm(bn)
    return layers


def inception_layers(model: Model, *, first: int = 1) -> dict[str, Variables]:
    """Numbered by their making from `first`, but listed in another order, as Keras sorts them by depth."""
    layers: dict[str, Variables] = {}
    for number, (conv, bn) in enumerate(zip(convolutions(model), norms(model), strict=True), start=first):
        ending = f"_{number}" if number else ""
        layers[f"conv2d{ending}"], layers[f"batch_normalization{ending}"] = kernel(conv), norm(bn, scale=False)
    return dict(sorted(layers.items()))


def vgg_layers(model: Model, depths: tuple[int, ...]) -> dict[str, Variables]:
    names = [f"block{b}_conv{c}" for b, depth in enumerate(depths, start=1) for c in range(1, depth + 1)]
    filters = convolutions(model)
    return {name: kernel(conv, bgr=conv is filters[0]) for name, conv in zip(names, filters, strict=True)}


def resnet_layers(model: Model, *, first_release: bool = False) -> dict[str, Variables]:
    """ResNet-50, whose convolutions have biases in Keras."""
    first, after = model.get_submodule("conv1"), model.get_submodule("bn1")
    assert isinstance(first, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
    stem = ("conv1", "bn_conv1") if first_release else ("conv1_conv", "conv1_bn")
    layers = {stem[0]: kernel(first, bgr=True), stem[1]: norm(after)}
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        for block in range(depth):
            parts = {f"{n}": (f"conv{n}", f"bn{n}") for n in (1, 2, 3)}
            if block == 0:
                parts = {"0": ("downsample.0", "downsample.1"), **parts}
            for part, places in parts.items():
                conv, bn = (model.get_submodule(f"layer{stage}.{block}.{place}") for place in places)
                assert isinstance(conv, nn.Conv2d) and isinstance(bn, nn.BatchNorm2d)
                if first_release:
                    place = f"{stage + 1}{'abcdef'[block]}_branch{'1' if part == '0' else '2' + ' abc'[int(part)]}"
                    names = f"res{place}", f"bn{place}"
                else:
                    names = (
                        f"conv{stage + 1}_block{block + 1}_{part}_conv",
                        f"conv{stage + 1}_block{block + 1}_{part}_bn",
                    )
                layers[names[0]], layers[names[1]] = kernel(conv), norm(bn)
    return layers

"""Weights that Keras Applications publish (.h5, without their heads) to the tensors of a model here.

What is done so that the same pictures give the same features, with BatchNorm in evaluation:

Keras                                        here
-------------------------------------------  ------------------------------------------------------------------------
filters (height, width, in, out)             (out, in, height, width)
depthwise filters (height, width, in, 1)     (in, 1, height, width)
BatchNorm divides by sqrt(variance + eps)    another eps is made up for in the variance
a bias before BatchNorm                      taken off its mean
pixels in BGR less a mean (VGG, ResNet)      the first filters' channels turned round, and the mean as pixel constant
pixels in -1..1 (MobileNetV2, Inception)     as pixel constants
uneven padding (MobileNetV2)                 the option borders="keras"
BatchNorm without scale, means that leave    the option scale=False
out the border (InceptionV3)
a stride in the first 1x1 (ResNet-50)        the option stride="1x1"
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from lightmeter.errors import WeightsError
from lightmeter.models.base import Model
from lightmeter.models.foreign import Foreign, blank, fit, normaliser, recognise
from lightmeter.nouns.recipe import ModelChoice

Layers = dict[str, dict[str, Tensor]]
"""Keras' layer -> its variables by their plain names ("kernel", "gamma", ...), in the order of the file."""

_MOST = 1 << 30  # values in a file; no published network comes near
_VARIABLE = re.compile(
    r"(?:^|[/_])(depthwise_kernel|kernel|W|bias|b|gamma|beta|moving_mean|running_mean|moving_variance|running_std)"
    r"(?:_\d+)?(?::\d+)?$"
)
_PLAIN = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}  # of Keras 1
_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_HEADS = ("predictions", "Logits", "fc1000", "probs")

_CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
_SYMMETRIC = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How one family of files is read.

    Attributes:
        model: the architecture with the options that make it Keras'.
        names: layers of the file -> ours, for those that have a place.
        eps: of Keras' BatchNorm.
        pixels: mean and deviation per channel (RGB), of pixels in 0..255.
        bgr: whether the first filters read BGR.
    """

    model: ModelChoice
    names: Callable[[Layers], dict[str, str]]
    eps: float
    pixels: tuple[tuple[float, ...], tuple[float, ...]]
    bgr: bool = False


def read_keras(path: Path) -> Layers:
    """The layers of a .h5 file in Keras' older layout, one group per layer. Raises WeightsError."""
    try:
        with h5py.File(path, "r") as file:
            top = file.get("model_weights", file)
            names = _listed(top, "layer_names")
            if not names:
                raise WeightsError(
                    f"{path.name} is not laid out as Keras Applications publish their weights.",
                    "one group per layer, and their names in the attribute layer_names",
                    "of a model saved by Keras 3, give the published file, or save its weights with Keras 2.",
                )
            layers: Layers = {}
            total = 0
            for layer in names:
                variables = {}
                for name in _listed(top[layer], "weight_names"):
                    data, matched = top[layer][name], _VARIABLE.search(name)
                    total += int(data.size)
                    if total > _MOST or matched is None:
                        what = f"the variable {name}" if matched is None else "too many values"
                        raise WeightsError(f"{path.name} holds {what}.", "weights of a published Keras network")
                    variables[_PLAIN.get(matched[1], matched[1])] = torch.from_numpy(np.asarray(data, np.float32))
                if variables:
                    layers[layer] = variables
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error}).", "a whole .h5 file of Keras weights") from error
    return layers


def translate(layers: Layers, name: str, *, origin: str) -> Foreign:
    """Layers of a Keras file to our tensors.

    Args:
        layers: as `read_keras` gives them.
        name: of the architecture; "" recognises it by its layers' names.
        origin: what to call the file in errors.

    Raises:
        WeightsError: no architecture known here, or tensors that are lacking or of other shapes.
    """
    scheme = _scheme(layers)
    if scheme is None or name not in ("", scheme.model.name):
        held = "of no architecture that is known here" if scheme is None else f"of {scheme.model.name}, not of {name}"
        raise WeightsError(
            f"{origin} holds weights {held}.",
            "Keras' MobileNetV2, InceptionV3, VGG16, VGG19 or ResNet50, with layers named as Keras Applications do",
            "" if scheme is None else "leave out --model to have it recognised.",
        )
    names, model = scheme.names(layers), blank(scheme.model)
    tensors: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    for layer, ours in names.items():
        variables = layers[layer]
        if "moving_mean" in variables:
            tensors |= {f"{ours}.{_NORM[kind]}": value for kind, value in variables.items() if kind in _NORM}
            continue
        tensors |= _filters(ours, variables)
        if scheme.model.name == "resnet50" and ours != "fc" and "bias" in variables:
            biases[_norm_after(ours)] = tensors.pop(f"{ours}.bias")
    for norm, bias in biases.items():
        if f"{norm}.running_mean" in tensors:  # else it is lacking, which is said below
            tensors[f"{norm}.running_mean"] = tensors[f"{norm}.running_mean"] - bias
    for ours, part in model.named_modules():
        if isinstance(part, nn.BatchNorm2d) and f"{ours}.running_var" in tensors:
            tensors[f"{ours}.running_var"] = tensors[f"{ours}.running_var"] + (scheme.eps - part.eps)
    first = f"{_convolutions(model)[0]}.weight"
    if scheme.bgr and first in tensors:
        tensors[first] = tensors[first].flip(1)
    foreign = fit(tensors, _with_width(scheme.model, tensors), origin=origin)
    prefix = normaliser(model)
    constants = {
        f"{prefix}.{part}": torch.tensor(values).view(1, -1, 1, 1)
        for part, values in zip(("mean", "std"), scheme.pixels, strict=True)
    }
    left = [layer for layer in layers if layer not in names]
    notes = [f"Left out: {', '.join(left[:4])}."] if left else []
    return Foreign(foreign.model, {**foreign.tensors, **constants}, (*notes, *foreign.notes))


def _filters(ours: str, variables: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for kind, value in variables.items():
        if kind == "depthwise_kernel" and value.ndim == 4:  # (h, w, in, multiplier)
            height, width, inputs, multiplier = value.shape
            found[f"{ours}.weight"] = value.permute(2, 3, 0, 1).reshape(inputs * multiplier, 1, height, width)
        elif kind == "kernel" and value.ndim == 4:
            found[f"{ours}.weight"] = value.permute(3, 2, 0, 1)
        elif kind == "kernel" and value.ndim == 2:
            found[f"{ours}.weight"] = value.T
        elif kind == "bias":
            found[f"{ours}.bias"] = value
    return found


def _with_width(choice: ModelChoice, tensors: dict[str, Tensor]) -> ModelChoice:
    """The choice with the width that the shapes show, where they show one."""
    found = recognise({name: tuple(value.shape) for name, value in tensors.items()}, only=choice.name)
    return choice if found is None else choice.model_copy(update={"width": found.width})


def _scheme(layers: Layers) -> _Scheme | None:
    if "block1_conv1" in layers:
        name = "vgg19" if "block3_conv4" in layers else "vgg16"
        return _Scheme(ModelChoice(name=name), lambda found: _vgg(found, name), 0.0, _CAFFE, bgr=True)
    if "Conv1" in layers and "Conv_1" in layers:
        mobilenet = ModelChoice(name="mobilenet_v2", options={"borders": "keras"})
        return _Scheme(mobilenet, _mobilenet, 1e-3, _SYMMETRIC)
    if "conv1_conv" in layers or "res2a_branch2a" in layers:
        resnet = ModelChoice(name="resnet50", options={"stem": "imagenet", "stride": "1x1"})
        return _Scheme(resnet, _resnet, 1.001e-5 if "conv1_conv" in layers else 1e-3, _CAFFE, bgr=True)
    if len(_numbered(layers, "conv2d")) == 94 == len(_numbered(layers, "batch_normalization")):
        return _Scheme(ModelChoice(name="inception_v3", options={"scale": False}), _inception, 1e-3, _SYMMETRIC)
    return None


def _vgg(layers: Layers, name: str) -> dict[str, str]:
    """Filters are used in the order of their names, block1_conv1, block1_conv2, ..."""
    theirs = sorted(layer for layer in layers if re.fullmatch(r"block\d_conv\d", layer))
    return dict(zip(theirs, _convolutions(blank(ModelChoice(name=name))), strict=False))


def _inception(layers: Layers) -> dict[str, str]:
    """Layers carry the number of their making, which is the order in which ours are registered."""
    ours = [name.removesuffix(".conv") for name in _convolutions(blank(ModelChoice(name="inception_v3")))]
    filters = zip(_numbered(layers, "conv2d"), (f"{name}.conv" for name in ours), strict=True)
    norms = zip(_numbered(layers, "batch_normalization"), (f"{name}.bn" for name in ours), strict=True)
    return {**dict(filters), **dict(norms), **dict.fromkeys(layers.keys() & {*_HEADS}, "fc")}


def _mobilenet(layers: Layers) -> dict[str, str]:
    """Names of today ("block_1_expand_BN") and of the first release ("bn1_conv_1_bn_expand")."""
    ends = {
        "Conv1": "features.0.0",
        "bn_Conv1": "features.0.1",
        "Conv_1": "features.18.0",
        "Conv_1_bn": "features.18.1",
    }
    names = {layer: ours for layer, ours in ends.items() if layer in layers}
    for layer in layers:
        matched = re.fullmatch(r"(?:expanded_conv|block_(\d+))_(expand|depthwise|project)(_BN)?", layer)
        older = re.fullmatch(r"(mobl|bn)(\d+)_conv_\d+_(?:bn_)?(expand|depthwise|project)", layer)
        if matched is not None:
            block, kind, norm = int(matched[1] or 0), matched[2], matched[3] is not None
        elif older is not None:
            block, kind, norm = int(older[2]), older[3], older[1] == "bn"
        else:
            continue
        place = ("expand", "depthwise", "project").index(kind) - (block == 0)  # the first block does not widen
        last = f"{place + norm}" if kind == "project" else f"{place}.{int(norm)}"
        names[layer] = f"features.{block + 1}.conv.{last}"
    return {**names, **dict.fromkeys(layers.keys() & {*_HEADS}, "classifier")}


def _resnet(layers: Layers) -> dict[str, str]:
    """Names of today ("conv2_block1_1_conv") and of the first release ("res2a_branch2a")."""
    ends = {"conv1_conv": "conv1", "conv1_bn": "bn1", "conv1": "conv1", "bn_conv1": "bn1"}
    names = {layer: ours for layer, ours in ends.items() if layer in layers}
    for layer in layers:
        matched = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
        older = re.fullmatch(r"(res|bn)(\d)([a-z])_branch(?:1|2([abc]))", layer)
        if matched is not None:
            stage, block, part, norm = int(matched[1]), int(matched[2]) - 1, int(matched[3]), matched[4] == "bn"
        elif older is not None:
            stage, block, norm = int(older[2]), ord(older[3]) - ord("a"), older[1] == "bn"
            part = "abc".index(older[4]) + 1 if older[4] else 0
        else:
            continue
        inside = f"{'bn' if norm else 'conv'}{part}" if part else f"downsample.{int(norm)}"
        names[layer] = f"layer{stage - 1}.{block}.{inside}"
    return {**names, **dict.fromkeys(layers.keys() & {*_HEADS}, "fc")}


def _norm_after(convolution: str) -> str:
    """The BatchNorm that reads a convolution of a ResNet."""
    if convolution.endswith("downsample.0"):
        return convolution.removesuffix("0") + "1"
    before, _, number = convolution.rpartition("conv")
    return f"{before}bn{number}"


def _convolutions(model: Model) -> list[str]:
    return [name for name, part in model.named_modules() if isinstance(part, nn.Conv2d)]


def _numbered(layers: Layers, kind: str) -> list[str]:
    """Layers called "kind" or "kind_N", by N; what else was made in the same session only shifts the numbers."""
    found = {layer: re.fullmatch(rf"{kind}(?:_(\d+))?", layer) for layer in layers}
    numbers = {layer: int(matched[1] or 0) for layer, matched in found.items() if matched}
    return sorted(numbers, key=numbers.__getitem__)


def _listed(group: h5py.Group, name: str) -> list[str]:
    """An attribute that lists names, [] where there is none; a long one is kept in parts, name0, name1, ..."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    return [one.decode() if isinstance(one, bytes) else str(one) for part in parts for one in np.ravel(part)]

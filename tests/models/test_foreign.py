"""Files of others, written here in each published naming scheme, give models that answer as their originals do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from lightmeter.errors import RecipeError, WeightsError
from lightmeter.models import MODELS, build_model, keras_h5
from lightmeter.models.base import Model
from lightmeter.models.foreign import Foreign, fit, read_torch, recognise, translate
from lightmeter.nouns.recipe import ModelChoice
from tests.models.published_files import (
    inception_layers,
    mobilenet_layers,
    resnet_layers,
    stir,
    torchvision_state,
    vgg_layers,
    write_h5,
)

WIDTH = 0.35
CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
SYMMETRIC = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))


@pytest.fixture(autouse=True)
def _own_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def original(name: str, *, classes: int = 7, width: float = WIDTH, **options: Any) -> Model:
    return stir(MODELS[name](classes, channels=3, size=80, width=width, **options))


def rebuilt(foreign: Foreign, classes: int = 7) -> Model:
    model = build_model(foreign.model, classes, 3, 80)
    lacking, unexpected = model.load_state_dict(foreign.tensors, strict=False)
    assert not unexpected
    assert {name.partition(".")[0] for name in lacking if "num_batches" not in name} <= {model.head_name}
    return model.eval()


def same_features(model: Model, source: Model) -> None:
    pixels = torch.randint(0, 256, (2, 80, 80, 3), dtype=torch.uint8)
    with torch.no_grad():
        found, expected = model.features(pixels), source.features(pixels)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mobilenet_v2", {}),
        ("resnet18", {"stem": "imagenet"}),
        ("resnet50", {"stem": "imagenet"}),
        ("inception_v3", {}),
        ("vgg16", {}),
    ],
)
def test_torchvision_state_dicts(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    source = original(name, **options)
    state = torchvision_state(source)
    if name == "inception_v3":  # its head is one layer there, and an auxiliary classifier comes along
        state = {key.replace("fc.1.", "fc."): value for key, value in state.items()}
        state |= {"AuxLogits.conv0.conv.weight": torch.zeros(8, 8, 1, 1), "AuxLogits.fc.bias": torch.zeros(7)}
    if name == "vgg16":  # three dense layers there
        state = {key: value for key, value in state.items() if "classifier" not in key}
        state |= {f"classifier.{n}.weight": torch.zeros(4, 4) for n in (0, 3, 6)}
    torch.save(state, tmp_path / "net.pth")
    foreign = translate(read_torch(tmp_path / "net.pth"), None, origin="net.pth")
    assert foreign.model == ModelChoice(name=name, width=WIDTH, options=options)
    model = rebuilt(foreign)
    same_features(model, source)
    constants = {key: value for key, value in source.state_dict().items() if "normalise." in key}
    assert constants and all(torch.equal(foreign.tensors[key], value) for key, value in constants.items())
    if name != "vgg16":
        pixels = torch.randint(0, 256, (2, 80, 80, 3), dtype=torch.uint8)
        torch.testing.assert_close(model(pixels), source(pixels))  # the head came along
    assert bool(foreign.notes) is (name in ("inception_v3", "vgg16"))


@pytest.mark.parametrize("wrap", ["state_dict", "model", "model_state_dict", "parallel", "both"])
def test_what_training_scripts_wrap_around_a_state_dict_is_taken_off(wrap: str, tmp_path: Path) -> None:
    source = original("resnet18", stem="imagenet")
    state: dict[str, Any] = torchvision_state(source)
    if wrap in ("parallel", "both"):
        state = {f"module.{key}": value for key, value in state.items()}
    if wrap != "parallel":
        state = {"epoch": 3, ("state_dict" if wrap == "both" else wrap): state, "best": torch.tensor(0.5)}
    torch.save(state, tmp_path / "net.pt")
    same_features(rebuilt(translate(read_torch(tmp_path / "net.pt"), None, origin="net.pt")), source)


class _Bomb:
    """What a hostile file holds: reading it with pickle would make a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.mkdir, (self.target,)


def test_a_file_that_would_run_code_is_refused_and_none_of_it_runs(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3), "x": _Bomb(tmp_path / "hacked")}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"(?s)net.pth cannot be read without running code.*state dict.*save"):
        read_torch(tmp_path / "net.pth")
    assert not (tmp_path / "hacked").exists()
    torch.load(tmp_path / "net.pth", weights_only=False)
    assert (tmp_path / "hacked").exists()  # so that the test would see it


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."])
def test_damaged_and_empty_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.pth"):
        read_torch(tmp_path / "net.pth")


def test_what_does_not_fit_is_named() -> None:
    state = torchvision_state(original("resnet18", stem="imagenet"))
    choice = ModelChoice(name="resnet18", width=WIDTH, options={"stem": "imagenet"})
    with pytest.raises(WeightsError, match=r"(?s)no architecture known here.*--model"):
        translate({"blocks.0.attn.qkv.weight": torch.zeros(3)}, None, origin="net.pth")
    with pytest.raises(WeightsError, match=r"lacks 1 tensors of resnet18: layer2.0.conv1.weight"):
        fit({key: value for key, value in state.items() if key != "layer2.0.conv1.weight"}, choice, origin="net.pth")
    with pytest.raises(WeightsError, match=r"holds 1 tensors that resnet18 has no place for: layer4.2.conv1.weight"):
        fit({**state, "layer4.2.conv1.weight": torch.zeros(2)}, choice, origin="net.pth")
    with pytest.raises(WeightsError, match=r"bn1.weight has the shape \(5,\).\nExpected: \(24,\)"):
        fit({**state, "bn1.weight": torch.zeros(5)}, choice, origin="net.pth")
    with pytest.raises(WeightsError, match=r"bn1.weight holds a value that is not finite"):
        fit({**state, "bn1.weight": torch.full((24,), torch.nan)}, choice, origin="net.pth")
    with pytest.raises(WeightsError, match=r"lacks \d+ tensors of vgg16"):
        translate(state, ModelChoice(name="vgg16"), origin="net.pth")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_an_architecture_is_recognised_with_its_width(name: str) -> None:
    state = MODELS[name](3, channels=3, size=224, width=0.5).state_dict()
    found = recognise({key: tuple(value.shape) for key, value in state.items()})
    assert found is not None
    assert (found.name, found.width) == (name, 0.5)


def keras(name: str, pixels: tuple[tuple[float, ...], tuple[float, ...]], eps: float, **options: Any) -> Model:
    """A model that computes what Keras' does: its constants, its epsilon, its biases."""
    model = original(name, **options)
    for full, layer in list(model.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = eps
        elif isinstance(layer, nn.Conv2d) and name == "resnet50":
            biased = nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding
            )
            biased.weight = layer.weight
            model.set_submodule(full, biased)
    state = model.state_dict()
    prefix = next(key for key in state if key.endswith("normalise.mean")).removesuffix("mean")
    for part, values in zip(("mean", "std"), pixels, strict=True):
        state[prefix + part].copy_(torch.tensor(values).view(1, 3, 1, 1))
    return model


def imported(path: Path, name: str = "") -> Foreign:
    return keras_h5.translate(keras_h5.read_keras(path), name, origin=path.name)


@pytest.mark.parametrize("first_release", [False, True])
def test_keras_mobilenet_v2(first_release: bool, tmp_path: Path) -> None:
    source = keras("mobilenet_v2", SYMMETRIC, 1e-3, borders="keras")
    path = write_h5(tmp_path / "m.h5", mobilenet_layers(source, first_release=first_release))
    foreign = imported(path)
    assert foreign.model == ModelChoice(name="mobilenet_v2", width=WIDTH, options={"borders": "keras"})
    same_features(rebuilt(foreign), source)


@pytest.mark.parametrize("first", [0, 1, 189])
def test_keras_inception_v3(first: int, tmp_path: Path) -> None:
    source = keras("inception_v3", SYMMETRIC, 1e-3, scale=False)
    for layer in source.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.fill_(1)  # stirred with the others, but no part of this network
    foreign = imported(write_h5(tmp_path / "i.h5", inception_layers(source, first=first), nested=first == 0))
    assert foreign.model == ModelChoice(name="inception_v3", width=WIDTH, options={"scale": False})
    same_features(rebuilt(foreign), source)


@pytest.mark.parametrize(("name", "depths"), [("vgg16", (2, 2, 3, 3, 3)), ("vgg19", (2, 2, 4, 4, 4))])
@pytest.mark.parametrize("old", [False, True])
def test_keras_vgg(name: str, depths: tuple[int, ...], old: bool, tmp_path: Path) -> None:
    source = keras(name, CAFFE, 0.0)
    foreign = imported(write_h5(tmp_path / "v.h5", vgg_layers(source, depths), old=old))
    assert foreign.model == ModelChoice(name=name, width=WIDTH)
    same_features(rebuilt(foreign), source)


@pytest.mark.parametrize("first_release", [False, True])
def test_keras_resnet_50(first_release: bool, tmp_path: Path) -> None:
    source = stir(keras("resnet50", CAFFE, 1e-3 if first_release else 1.001e-5, stem="imagenet", stride="1x1"))
    path = write_h5(tmp_path / "r.h5", resnet_layers(source, first_release=first_release), old=first_release)
    foreign = imported(path)
    assert foreign.model == ModelChoice(name="resnet50", width=WIDTH, options={"stem": "imagenet", "stride": "1x1"})
    same_features(rebuilt(foreign), source)


def test_a_keras_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    layers = mobilenet_layers(original("mobilenet_v2"))
    path = write_h5(tmp_path / "m.h5", layers)
    with pytest.raises(WeightsError, match=r"(?s)of mobilenet_v2, not of vgg16.*leave out --model"):
        imported(path, "vgg16")
    lacking = {name: value for name, value in layers.items() if name != "block_5_project"}
    with pytest.raises(WeightsError, match=r"lacks 1 tensors of mobilenet_v2: features.6.conv.2.weight"):
        imported(write_h5(tmp_path / "l.h5", lacking))
    with pytest.raises(WeightsError, match="no architecture that is known here"):
        imported(write_h5(tmp_path / "o.h5", {"dense": {"kernel": torch.zeros(3, 4)}}))
    with pytest.raises(WeightsError, match="holds the variable dense/alpha:0"):
        imported(write_h5(tmp_path / "a.h5", {"dense": {"alpha": torch.zeros(3)}}))


def test_other_h5_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "three.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", data=np.zeros(3))
    with pytest.raises(WeightsError, match=r"(?s)not laid out as Keras Applications.*Keras 3"):
        keras_h5.read_keras(tmp_path / "three.h5")
    (tmp_path / "no.h5").write_bytes(b"no h5")
    with pytest.raises(WeightsError, match=r"no.h5 cannot be read"):
        keras_h5.read_keras(tmp_path / "no.h5")


def test_timm_says_what_to_install_where_it_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RecipeError, match=r"(?s)timm:resnet10t needs timm.*pip install timm"):
        build_model(ModelChoice(name="timm:resnet10t"), 5, 3, 64)


@pytest.fixture
def timm() -> Any:
    """timm, with the operators that a torchvision for another torch lacks."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor dets) -> Tensor"):
        try:
            library.define(schema)
        except RuntimeError:  # it is there: this torchvision fits
            break
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"timm cannot be imported: {error}")
    return timm


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_model_of_timm_keeps_the_contract(name: str, timm: Any) -> None:
    model = build_model(ModelChoice(name=f"timm:{name}"), 5, 3, 64).eval()
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    assert torch.equal(model.head(model.features(pixels)), model(pixels))
    blocks = model.blocks()
    held = sorted(id(parameter) for block in blocks.values() for parameter in block.parameters())
    assert held == sorted(id(parameter) for parameter in model.parameters())
    assert list(blocks)[-1] == "head"
    own = timm.create_model(name, num_classes=0).state_dict()
    head = "head" if "vit" in name else "fc"  # a file of timm holds its own
    own |= {f"{head}.weight": torch.ones(9, model.head[-1].in_features), f"{head}.bias": torch.zeros(9)}
    foreign = translate(own, ModelChoice(name=f"timm:{name}"), origin="t.pth")
    ours = {"normalise.mean", "normalise.std", "head.1.weight", "head.1.bias"}
    assert set(foreign.tensors) == ours | {f"body.{key}" for key in own if not key.startswith(f"{head}.")}
    assert foreign.tensors["head.1.weight"].shape == (9, model.head[-1].in_features)
    with pytest.raises(RecipeError, match="has no width"):
        build_model(ModelChoice(name=f"timm:{name}", width=0.5), 5, 3, 64)
    with pytest.raises(RecipeError, match="timm could not build 'resnet1000'"):
        build_model(ModelChoice(name="timm:resnet1000"), 5, 3, 64)

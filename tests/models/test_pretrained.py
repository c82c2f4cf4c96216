"""Start weights: what is taken is right, what is not is said, and what does not fit is an error that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lightmeter.errors import WeightsError
from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.models.pretrained import architecture_of, identity, load_start


@pytest.fixture(autouse=True)
def _own_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def build(
    name: str = "resnet18", *, classes: int = 5, channels: int = 3, size: int = 32, width: float = 0.125
) -> Model:
    return MODELS[name](classes, channels=channels, size=size, width=width)


def written(path: Path, state: dict[str, Tensor]) -> Path:
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_starts_as_the_one_that_was_saved(name: str, tmp_path: Path) -> None:
    source, model = build(name, size=128).eval(), build(name, size=128).eval()
    path = written(tmp_path / "start.safetensors", source.state_dict())
    report = load_start(model, path)
    assert set(report.loaded) == set(source.state_dict())
    assert (report.missing, report.unexpected, report.notes) == ((), (), ())
    pixels = torch.randint(0, 256, (2, 128, 128, 3), dtype=torch.uint8)
    assert torch.equal(model(pixels), source(pixels))


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("bare", [False, True])
def test_the_architecture_is_recognised(name: str, bare: bool, tmp_path: Path) -> None:
    state = build(name, size=128).state_dict()
    if bare:  # as published: no pixel constants, no head, no counters
        outside = ("normalise.", "fc.", "head.", "classifier.", "features.normalise.")
        state = {key: v for key, v in state.items() if not key.startswith(outside) and "num_batches" not in key}
    assert architecture_of(written(tmp_path / "w.safetensors", state)) == name


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"(?s)no architecture known.*resnet18"):
        architecture_of(written(tmp_path / "w.safetensors", {"blocks.0.attn.qkv.weight": torch.zeros(3)}))


def test_identity_names_file_and_content(tmp_path: Path) -> None:
    path = written(tmp_path / "net.v1.safetensors", {"a": torch.zeros(2)})
    assert identity(path) == "net.v1@" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_a_head_for_other_classes_is_replaced_and_said(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", build(classes=1000).state_dict())
    model = build(classes=5)
    fresh = model.head.weight.detach().clone()
    report = load_start(model, path)
    assert report.missing == ("fc.bias", "fc.weight")
    assert torch.equal(model.head.weight, fresh)
    assert "1000 classes, not 5" in report.sentence


@pytest.mark.parametrize("dropped", ["fc.", "fc.bias"])
def test_a_head_that_is_absent_or_half_there_stays_fresh(dropped: str, tmp_path: Path) -> None:
    source = build().state_dict()
    path = written(tmp_path / "w.safetensors", {k: v for k, v in source.items() if not k.startswith(dropped)})
    model = build()
    fresh = model.head.weight.detach().clone()
    report = load_start(model, path)
    assert report.missing == ("fc.bias", "fc.weight")
    assert torch.equal(model.head.weight, fresh)
    assert "fresh" in report.sentence


def test_a_wrong_shape_names_the_tensor_and_both_shapes(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", build(width=0.25).state_dict())
    with pytest.raises(WeightsError, match=r"bn1.bias has the shape \(16,\).\nExpected: \(8,\)"):
        load_start(build(width=0.125), path)


def test_a_refused_file_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    state = build().state_dict()
    state["layer4.1.conv2.weight"] = torch.zeros(3, 3, 3, 3)
    path = written(tmp_path / "w.safetensors", state)
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(WeightsError):
        load_start(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_lacking_tensors_are_named(tmp_path: Path) -> None:
    state = build().state_dict()
    del state["layer2.0.conv1.weight"]
    with pytest.raises(WeightsError, match=r"lacks 1 tensors of ResNet: layer2.0.conv1.weight"):
        load_start(build(), written(tmp_path / "w.safetensors", state))


def test_weights_of_a_deeper_network_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", build("resnet34").state_dict())
    assert architecture_of(path) == "resnet34"
    with pytest.raises(WeightsError, match=r"no place for: layer1.2.bn1.bias"):
        load_start(build("resnet18"), path)


def test_a_part_the_model_does_not_have_is_left_out_and_said(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", {**build().state_dict(), "auxiliary.weight": torch.zeros(2)})
    report = load_start(build(), path)
    assert report.unexpected == ("auxiliary.weight",)
    assert "auxiliary.weight" in report.sentence


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_converted_and_said(dtype: torch.dtype, tmp_path: Path) -> None:
    source = build()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source.state_dict().items()}
    model = build()
    report = load_start(model, written(tmp_path / "w.safetensors", state))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32, torch.int64}
    assert torch.equal(model.head.weight, source.head.weight.to(dtype).float())
    assert f"Converted from {str(dtype).removeprefix('torch.')}." in report.notes


def test_whole_numbers_for_weights_are_refused(tmp_path: Path) -> None:
    state = {**build().state_dict(), "bn1.weight": torch.ones(8, dtype=torch.int8)}
    with pytest.raises(WeightsError, match=r"bn1.weight holds torch.int8"):
        load_start(build(), written(tmp_path / "w.safetensors", state))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    state = build().state_dict()
    state["bn1.weight"] = torch.full((8,), value)
    with pytest.raises(WeightsError, match=r"bn1.weight holds a value that is not finite"):
        load_start(build(), written(tmp_path / "w.safetensors", state))


def test_rgb_filters_are_summed_for_grey_pictures_and_said(tmp_path: Path) -> None:
    source, model = build(), build(channels=1)
    constants = model.get_buffer("normalise.mean").clone()
    path = written(tmp_path / "w.safetensors", source.state_dict())
    report = load_start(model, path)
    assert torch.equal(model.get_parameter("conv1.weight")[:, 0], source.get_parameter("conv1.weight").sum(dim=1))
    torch.testing.assert_close(model.get_buffer("normalise.mean"), constants)
    assert "conv1.weight was summed over its three channels" in report.sentence
    with pytest.raises(WeightsError, match=r"conv1.weight has the shape \(8, 3, 3, 3\).\nExpected: \(8, 1, 3, 3\)"):
        load_start(build(channels=1), path, sum_channels=False)


def test_pixel_constants_of_the_file_are_taken_for_grey_pictures_too(tmp_path: Path) -> None:
    state = {**build().state_dict(), "normalise.mean": torch.tensor([[[[120.0]], [[110.0]], [[130.0]]]])}
    model = build(channels=1)
    load_start(model, written(tmp_path / "w.safetensors", state))
    assert model.get_buffer("normalise.mean").tolist() == [[[[120.0]]]]


def test_summed_filters_see_a_grey_picture_nearly_as_the_rgb_model_does(tmp_path: Path) -> None:
    source, model = build().eval(), build(channels=1).eval()
    load_start(model, written(tmp_path / "w.safetensors", source.state_dict()))
    grey = torch.randint(0, 256, (4, 32, 32, 1), dtype=torch.uint8)
    rgb = source.features(grey.expand(-1, -1, -1, 3))
    other = source.features(255 - grey.expand(-1, -1, -1, 3))
    near, far = (model.features(grey) - rgb).norm(), (other - rgb).norm()
    assert near < 0.5 * far


def test_grey_weights_do_not_fit_rgb_pictures(tmp_path: Path) -> None:
    path = written(tmp_path / "w.safetensors", build(channels=1).state_dict())
    with pytest.raises(WeightsError, match=r"conv1.weight has the shape \(8, 1, 3, 3\)"):
        load_start(build(channels=3), path)


def test_files_that_could_carry_code_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(b"\x80\x04")
    with pytest.raises(WeightsError, match=r"(?s)w.pth is not a .safetensors file.*convert it to safetensors"):
        load_start(build(), path)


def test_absent_and_damaged_files_are_errors_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file"):
        load_start(build(), tmp_path / "none.safetensors")
    path = written(tmp_path / "w.safetensors", build().state_dict())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_start(build(), path)
    with pytest.raises(WeightsError, match="cannot be read"):
        architecture_of(path)

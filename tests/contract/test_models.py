"""What every architecture promises, for each name in `MODELS`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightmeter.errors import RecipeError
from lightmeter.models import MODELS, build_model
from lightmeter.models.base import Model, block_of, freeze, frozen_layers, layers
from lightmeter.nouns.recipe import ModelChoice

CLASSES = 5


@pytest.fixture(autouse=True)
def _own_generator() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@functools.cache
def smallest(name: str) -> int:
    """Side of the smallest pictures that the architecture takes."""
    with torch.device("meta"):
        return MODELS[name](CLASSES, channels=3, size=224).minimum_size


def build(name: str, *, channels: int = 3, size: int = 32, width: float = 0.25) -> Model:
    """A narrow model for pictures of `size`, or of the smallest side that it takes."""
    return build_model(ModelChoice(name=name, width=width), CLASSES, channels, max(size, smallest(name)))


def pictures(n: int, model: Model) -> Tensor:
    """Random ones that the model takes."""
    return torch.randint(0, 256, (n, model.size, model.size, model.channels), dtype=torch.uint8)


every_model = pytest.mark.parametrize("name", sorted(MODELS))


@every_model
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [32, 37, 65])
def test_logits_are_finite_float32_and_the_same_for_bytes_and_floats(name: str, channels: int, size: int) -> None:
    model = build(name, channels=channels, size=size).eval()
    pixels = pictures(3, model)
    logits = model(pixels)
    assert logits.shape == (3, CLASSES)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert torch.equal(logits, model(pixels.float()))


@every_model
def test_logits_are_float32_under_autocast(name: str) -> None:
    model = build(name).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(pictures(2, model)).dtype == torch.float32


@every_model
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    model = build(name).train()
    pixels = pictures(8, model)
    model.prepare(pixels)
    torch.nn.functional.cross_entropy(model(pixels), torch.arange(8) % CLASSES).backward()
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.abs().max() > 0, parameter_name
        else:
            assert parameter.grad is None, parameter_name


@every_model
def test_the_head_comes_off(name: str) -> None:
    model = build(name).eval()
    pixels = pictures(3, model)
    features = model.features(pixels)
    linear = [layer for layer in model.head.modules() if isinstance(layer, torch.nn.Linear)]
    assert features.shape == (3, linear[0].in_features)
    assert linear[-1].out_features == model.num_classes
    assert torch.equal(model.head(features), model(pixels))
    assert model.get_submodule(model.head_name) is model.head


@every_model
def test_blocks_hold_each_parameter_and_buffer_once_and_end_with_the_head(name: str) -> None:
    model = build(name)
    blocks = model.blocks()
    held = [id(parameter) for block in blocks.values() for parameter in block.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    assert list(blocks)[-1] == "head"
    head = {id(parameter) for parameter in model.head.parameters()}
    assert head == {id(parameter) for parameter in blocks["head"].parameters()}
    buffers = {id(buffer) for block in blocks.values() for buffer in block.buffers()}
    outside = {full for full, buffer in model.named_buffers() if id(buffer) not in buffers}
    assert {full.rpartition(".")[2] for full in outside} == {"mean", "std"}  # the pixel constants, and nothing else


@every_model
def test_freezing_all_leaves_the_head(name: str) -> None:
    model = build(name)
    frozen = freeze(model, ("all",))
    inside = {id(part) for part in model.blocks()["head"].modules()}
    assert frozen == tuple(full for full, layer in layers(model).items() if id(layer) not in inside)
    trainable = {full for full, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {full for full, _ in model.named_parameters() if block_of(model, full) == "head"}


@every_model
def test_layers_hold_every_parameter_once_and_stand_in_the_order_of_their_use(name: str) -> None:
    model = build(name).eval()
    known = layers(model)
    held = [id(parameter) for layer in known.values() for parameter in layer.parameters()]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    used: list[str] = []
    for full, layer in known.items():
        layer.register_forward_hook(lambda *_, full=full: used.append(full))
    model(pictures(1, model))
    first_use = list(dict.fromkeys(used))
    beside = "downsample"  # a shortcut is registered after the branch that it runs beside
    assert [full for full in first_use if beside not in full] == [
        full for full in known if full in set(used) and beside not in full
    ]


@every_model
def test_a_number_freezes_from_the_input_or_spares_the_last(name: str) -> None:
    model = build(name)
    names = list(layers(model))
    assert frozen_layers(model, ("0",)) == ()
    assert frozen_layers(model, ("3",)) == tuple(names[:3])
    assert frozen_layers(model, ("-5",)) == tuple(names[:-5])
    assert frozen_layers(model, (names[1], "2")) == tuple(names[:2])
    norms = [full for full, layer in layers(model).items() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert frozen_layers(model, ("batchnorm",)) == tuple(norms)
    with pytest.raises(RecipeError, match=rf"has {len(names)} layers.*\n.*head"):
        frozen_layers(model, (str(len(names) + 1),))


@every_model
def test_a_wrong_block_is_named_with_those_there_are(name: str) -> None:
    model = build(name)
    with pytest.raises(RecipeError, match=r"no block or layer 'nowhere'.*\n.*head"):
        frozen_layers(model, ("nowhere",))
    with pytest.raises(RecipeError, match="leaves nothing to train"):
        frozen_layers(model, tuple(model.blocks()))
    first, block = next(iter(model.blocks().items()))
    inside = {id(part) for part in block.modules()}
    assert frozen_layers(model, (first,)) == tuple(n for n, layer in layers(model).items() if id(layer) in inside)


@every_model
def test_weights_survive_a_file(name: str, tmp_path: Path) -> None:
    model = build(name)
    pixels = pictures(4, model)
    model.prepare(pixels)
    model.train()(pixels)  # moves the BatchNorm statistics off their first values
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    other = build(name)
    assert not torch.equal(other.eval()(pixels), model.eval()(pixels))
    other.load_state_dict(load_file(tmp_path / "w.safetensors"))
    assert torch.equal(other(pixels), model(pixels))


@every_model
def test_evaluation_is_deterministic_and_treats_each_picture_alone(name: str) -> None:
    model = build(name).eval()
    pixels = pictures(2, model)
    together = model(pixels)
    assert torch.equal(together, model(pixels))
    alone = torch.cat([model(pixels[:1]), model(pixels[1:])])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)


@every_model
def test_the_smallest_size_works_and_a_smaller_one_is_refused(name: str) -> None:
    least = smallest(name)
    model = build(name, size=least)
    assert model.size == least
    assert model.train()(pictures(2, model)).isfinite().all()
    with pytest.raises(RecipeError, match=rf"{least - 1} pixels.\n.*at least {least}"):
        build_model(ModelChoice(name=name, width=0.25), CLASSES, 3, least - 1)


@every_model
@pytest.mark.parametrize(("channels", "classes"), [(2, 5), (4, 5), (3, 1), (3, 0)])
def test_impossible_channels_and_classes_are_refused(name: str, channels: int, classes: int) -> None:
    with pytest.raises(RecipeError):
        build_model(ModelChoice(name=name), classes, channels, max(32, smallest(name)))


@every_model
def test_width_is_a_dial(name: str) -> None:
    def parameters(width: float) -> int:
        return sum(parameter.numel() for parameter in build(name, width=width).parameters())

    assert parameters(0.25) < parameters(0.5) < parameters(1.0)


@every_model
def test_a_tracer_can_follow_it_with_any_number_of_pictures(name: str) -> None:
    model = build(name).eval()
    count = torch.export.Dim("n")
    program = torch.export.export(model, (pictures(2, model),), dynamic_shapes=({0: count},)).module()
    pixels = pictures(3, model)
    torch.testing.assert_close(program(pixels), model(pixels), rtol=1e-5, atol=1e-5)


def test_a_wrong_name_lists_the_models() -> None:
    with pytest.raises(RecipeError, match=r"(?s)no model called 'vgg'.*resnet18"):
        build_model(ModelChoice(name="vgg"), 5, 3, 32)


def test_a_wrong_option_lists_the_options() -> None:
    with pytest.raises(RecipeError, match=r"(?s)no option 'stemm'.*stem"):
        build_model(ModelChoice(name="resnet18", options={"stemm": "small"}), 5, 3, 32)


def test_an_option_may_not_take_the_place_of_a_field() -> None:
    with pytest.raises(RecipeError, match=r"model.options sets size"):
        build_model(ModelChoice(name="resnet18", options={"size": 64}), 5, 3, 32)


def test_a_builder_elsewhere_is_imported_by_name() -> None:
    model = build_model(ModelChoice(name="lightmeter.models.resnet:resnet34", width=0.25), 5, 3, 32)
    assert len(model.get_submodule("layer3")) == 6  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["no.such.module:model", "lightmeter.models.resnet:resnet19"])
def test_a_builder_that_cannot_be_imported_is_an_error_of_the_user(name: str) -> None:
    with pytest.raises(RecipeError, match="could not be imported"):
        build_model(ModelChoice(name=name), 5, 3, 32)


def test_a_builder_of_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_models.py").write_text("def tree(num_classes, **options):\n    return options\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match="built a dict"):
        build_model(ModelChoice(name="own_models:tree"), 5, 3, 32)
    with pytest.raises(RecipeError, match="cannot be called"):
        build_model(ModelChoice(name="own_models:number"), 5, 3, 32)

"""VGG-16 and -19 are those that torchvision publishes, without the dense layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.models.pretrained import architecture_of, load_start
from lightmeter.models.table import count

# torchvision's numbers of the convolutions among `features`.
PUBLISHED = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}


def build(name: str, num_classes: int = 10, **options: object) -> Model:
    with torch.device("meta"):
        return MODELS[name](num_classes, channels=3, size=32, **options)


@pytest.mark.parametrize(("name", "base"), [("vgg16", 14_714_688), ("vgg19", 20_024_384)])
def test_counts_without_the_top_are_those_of_keras(name: str, base: int) -> None:
    model = build(name)
    counts = count(nn.ModuleList([block for part, block in model.blocks().items() if part != "head"]))
    assert (counts.total, counts.trainable) == (base, base)
    assert count(model).total == base + 512 * 10 + 10
    assert count(build(name, hidden=64)).total == base + 512 * 64 + 64 + 64 * 10 + 10


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_names_and_shapes_are_the_published_ones(name: str) -> None:
    state = build(name).state_dict()
    weights = [key for key in state if key.startswith("features.") and key.endswith(".weight")]
    assert weights == [f"features.{number}.weight" for number in PUBLISHED[name]]
    assert state["features.0.weight"].shape == (64, 3, 3, 3)
    assert state["features.5.bias"].shape == (128,)
    assert state[weights[-1]].shape == (512, 512, 3, 3)


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_file_is_taken_without_its_dense_layers(name: str, hidden: int, tmp_path: Path) -> None:
    options = {"channels": 3, "size": 32, "width": 0.125}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        source = MODELS[name](10, **options)
        file = {key: value for key, value in source.state_dict().items() if key[9:].split(".")[0].isdigit()}
        for number, (inputs, outputs) in ((0, (64 * 49, 32)), (3, (32, 32)), (6, (32, 1000))):
            file |= {f"classifier.{number}.weight": torch.randn(outputs, inputs)}
            file |= {f"classifier.{number}.bias": torch.randn(outputs)}
        save_file(file, tmp_path / "vgg.safetensors")
        model = MODELS[name](10, **options, hidden=hidden)
    assert architecture_of(tmp_path / "vgg.safetensors") == name
    first = model.head.state_dict()
    first = {key: value.clone() for key, value in first.items()}
    report = load_start(model, tmp_path / "vgg.safetensors")
    assert set(report.loaded) == {key for key in file if key.startswith("features.")}
    assert "fresh" in report.sentence
    assert all(torch.equal(value, first[key]) for key, value in model.head.state_dict().items())
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(model.eval().features(pixels), source.eval().features(pixels))


def test_a_plain_rendering_of_the_paper_agrees() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MODELS["vgg16"](4, channels=3, size=70, width=0.125).eval()
        pixels = torch.randint(0, 256, (2, 70, 70, 3), dtype=torch.uint8)
    state, f, number = model.state_dict(), nn.functional, 0
    x = ((pixels / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])).permute(0, 3, 1, 2)
    for depth in (2, 2, 3, 3, 3):
        for _ in range(depth):
            x = f.relu(f.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], padding=1))
            number += 2
        x, number = f.max_pool2d(x, 2), number + 1
    torch.testing.assert_close(model.features(pixels), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)

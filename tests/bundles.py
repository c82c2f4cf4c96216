"""A small network, odd pictures and a bundle of the two, for the tests of everything from export to serving."""

from __future__ import annotations

import functools
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lightmeter.models import build_model
from lightmeter.models.views import MultiView
from lightmeter.nouns.bundle import CARD, Bundle, write_card
from lightmeter.nouns.examples import Examples
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import ModelChoice
from lightmeter.runners import Runner, features_of
from lightmeter.verbs.export import write_bundle

CLASSES = ("ant", "bee", "cat", "dog", "eel")
PREPROCESS = Preprocess(size=24, channels=3)


class Net(nn.Module):
    """Raw pixels [N, S, S, C] in 0..255 -> logits, with weights that make its answers differ."""

    def __init__(self, num_classes: int = len(CLASSES), channels: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.register_buffer("mean", torch.full((channels,), 120.0))
        self.register_buffer("std", torch.full((channels,), 60.0))
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(16 * 6 * 6, num_classes)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)
        nn.init.normal_(self.body[1].running_mean, std=0.2, generator=generator)

    def forward(self, pixels: Tensor) -> Tensor:
        x = ((pixels.float() - self.mean) / self.std).permute(0, 3, 1, 2)
        return self.head(self.body(x).flatten(1))


def picture(seed: int = 0, size: tuple[int, int] = (61, 37), *, turn: int = 1, kind: str = "JPEG") -> bytes:
    """An encoded picture of soft noise with an EXIF orientation."""
    small = np.random.default_rng(seed).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = turn
    stream = io.BytesIO()
    image.save(stream, kind, exif=exif)
    return stream.getvalue()


EXAM = [(f"{CLASSES[turn % 5]}/{turn}.jpg", picture(turn, (61 + turn, 37), turn=turn)) for turn in range(1, 9)]


def card(**changes: Any) -> dict[str, Any]:
    """The arguments of `write_bundle` besides path and module."""
    given = {
        "classes": CLASSES,
        "preprocess": PREPROCESS,
        "temperature": 1.7,
        "abstain_below": 0.4,
        "recipe_key": "0" * 64,
        "scores": {"val": {"n": 8, "accuracy": 0.5}},
        "provenance": {"data": "noise"},
        "exam": EXAM,
    }
    return {**given, **changes}


@functools.cache
def net() -> Net:
    """The network of `bundle`."""
    return Net().eval()


@functools.cache
def _built(base: Path) -> Path:
    path = base / "shared" / "model.bundle"
    write_bundle(path, net(), **card())
    return path


@functools.cache
def with_examples(base: Path) -> Bundle:
    """A bundle of an untrained network that carries seven training pictures."""
    model = build_model(ModelChoice(name="whitened", width=0.25), len(CLASSES), channels=3, size=24)
    canvases = np.stack([PREPROCESS.canvas(picture(seed)).pixels for seed in range(7)])

    def examples(runner: Runner) -> Examples:
        features = features_of(runner, canvases)
        assert features is not None
        return Examples(tuple(f"{seed}.jpg" for seed in range(7)), np.arange(7) % len(CLASSES), features, canvases)

    path = base / "with-examples" / "model.bundle"
    write_bundle(path, MultiView(model, 1).eval(), **card(examples=examples))
    return Bundle.open(path)


def with_network(folder: Path, model: str, size: int) -> Bundle:
    """A bundle of an untrained network whose answers differ as those of a trained one do."""
    torch.manual_seed(0)
    module = build_model(ModelChoice(name=model), len(CLASSES), channels=3, size=size)
    with torch.no_grad():
        for parameter in module.head.parameters():
            parameter.mul_(100)
    preprocess = Preprocess(size=size, channels=3)
    write_bundle(folder / "model.bundle", MultiView(module, 1).eval(), **card(preprocess=preprocess))
    return Bundle.open(folder / "model.bundle")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that every test shares; none may change it."""
    return Bundle.open(_built(tmp_path_factory.getbasetemp()))


@pytest.fixture
def own_bundle(bundle: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle.path, tmp_path / "model.bundle"))


def reseal(path: Path) -> None:
    """Write the card anew over the files as they are now, so that only the exam can tell what was changed."""
    document = json.loads((path / CARD).read_text())
    write_card(path, {name: value for name, value in document.items() if name not in ("format", "files", "seal")})

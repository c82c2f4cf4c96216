"""Heat maps point at what the answer rests on, by either method, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from lightmeter.errors import BadImageError, UsageError
from lightmeter.models import MODELS
from lightmeter.models.base import Model, map_weights
from lightmeter.models.views import MultiView
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.runners import maps_of, open_runner
from lightmeter.verbs.explain import Explainer, explain, overlay
from lightmeter.verbs.export import write_bundle
from lightmeter.verbs.predict import Predictor
from tests.bundles import CLASSES, card, picture

SIDE = 32


class Bright(Model):
    """Its second class is how bright the picture is; the others do not look."""

    def __init__(self, *, pooled: bool) -> None:
        super().__init__(5, channels=3, size=SIDE)
        self.pooled = pooled
        self.filter = nn.Conv2d(3, 2, 4, stride=4)
        self.head = nn.Linear(2, 5, bias=False)
        with torch.no_grad():
            self.filter.weight.fill_(1 / (255 * 48))
            self.filter.bias.zero_()  # type: ignore[union-attr]
            self.head.weight.zero_()
            self.head.weight[1] = 20.0

    def _map(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.filter(pixels.float().permute(0, 3, 1, 2))
        return found

    def features(self, pixels: Tensor) -> Tensor:
        return self._map(pixels).mean(dim=(2, 3))

    def blocks(self) -> dict[str, nn.Module]:
        return {"filter": self.filter, "head": self.head}


class Mapped(Bright):
    def maps(self, pixels: Tensor) -> Tensor:
        return self._map(pixels)


def written(path: Path, model: Model) -> Bundle:
    given: dict[str, Any] = {**card(), "preprocess": Preprocess(size=SIDE, channels=3), "temperature": 1.0}
    write_bundle(path, MultiView(model, 2).eval(), **given)
    return Bundle.open(path)


@pytest.fixture(scope="module", params=["class activation map", "occlusion"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    kind = Mapped if request.param == "class activation map" else Bright
    return written(tmp_path_factory.mktemp("explained") / "model.bundle", kind(pooled=True))


def lit(row: int, column: int) -> NDArray[np.uint8]:
    """A dark canvas with a bright patch."""
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[row : row + 8, column : column + 8] = 255
    return canvas


@pytest.mark.parametrize(("row", "column"), [(0, 0), (24, 0), (4, 20)])
def test_the_heat_is_where_the_evidence_is(bundle: Bundle, row: int, column: int) -> None:
    explainer = Explainer(Predictor(bundle))
    expected = "class activation map" if bundle.map_weights else "occlusion"
    found = explainer.explain(lit(row, column), CLASSES[1])
    assert found.method == explainer.method == expected
    assert found.heat.shape == (SIDE, SIDE)
    assert found.heat.min() >= 0
    assert found.heat.max() <= 1
    where = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert row - 4 <= where[0] < row + 12
    assert column - 4 <= where[1] < column + 12
    far = found.heat[(row + 16) % SIDE : (row + 16) % SIDE + 8, (column + 16) % SIDE : (column + 16) % SIDE + 8]
    assert far.mean() < 0.2


def test_nothing_speaks_for_a_class_that_does_not_look(bundle: Bundle) -> None:
    heat = Explainer(Predictor(bundle)).explain(np.zeros((SIDE, SIDE, 3), np.uint8), CLASSES[1]).heat
    assert not heat.any()


def test_unknown_classes_and_files_are_told(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture())
    with pytest.raises(UsageError, match="no class 'cow'"):
        explain(bundle, tmp_path / "x.jpg", label="cow")
    with pytest.raises(UsageError, match="There is no"):
        explain(bundle, tmp_path / "absent.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(BadImageError):
        explain(bundle, tmp_path / "bad.jpg")
    found, canvas = explain(bundle, tmp_path / "x.jpg")
    assert found.label in CLASSES
    assert canvas.shape == (SIDE, SIDE, 3)


def test_the_overlay_is_large_and_leaves_cold_places_alone() -> None:
    canvas, heat = lit(0, 0), np.zeros((SIDE, SIDE), np.float32)
    heat[16:, 16:] = 1.0
    drawn = overlay(canvas, heat)
    assert drawn.size == (448, 448)
    plain = np.asarray(Image.fromarray(canvas).resize(drawn.size, Image.Resampling.BICUBIC))
    shown = np.asarray(drawn)
    assert np.array_equal(shown[:200, :200], plain[:200, :200])
    assert shown[400:, 400:].mean() > 60
    grey = overlay(canvas[:, :, :1], heat)
    assert grey.mode == "RGB"


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "resnet50", "inception_v3"])
def test_networks_that_pool_by_the_mean_say_so_and_their_maps_are_what_they_pool(name: str) -> None:
    size = 75 if name == "inception_v3" else 32
    model = MODELS[name](3, channels=3, size=size, width=0.25).eval()
    weights = map_weights(model)
    assert model.state_dict()[weights].shape[0] == 3
    pixels = torch.randint(0, 256, (2, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        maps = model.maps(pixels)
        assert maps is not None
        torch.testing.assert_close(maps.mean(dim=(2, 3)), model.features(pixels), atol=1e-4, rtol=1e-4)
    hidden = MODELS["mobilenet_v2"](3, channels=3, size=32, width=0.25, hidden=8)
    assert map_weights(hidden) == ""
    assert map_weights(MODELS["whitened"](3, channels=3, size=32, width=0.25)) == ""


def test_a_graph_gives_its_maps_only_when_asked(bundle: Bundle) -> None:
    runner = open_runner(bundle)
    pixels = np.stack([lit(0, 0), lit(24, 24)])
    maps = maps_of(runner, pixels)
    assert (maps is not None) == bool(bundle.map_weights)
    if maps is not None:
        assert maps.shape == (2, 2, 8, 8)
    assert runner(pixels).shape == (2, 5)


def test_explaining_loads_no_torch(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture())
    program = (
        "import sys; from pathlib import Path\n"
        "from lightmeter.nouns.bundle import Bundle; from lightmeter.verbs.explain import explain\n"
        f"explain(Bundle.open(Path({str(bundle.path)!r})), Path({str(tmp_path / 'x.jpg')!r}))\n"
        "assert not {'torch', 'onnx', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)

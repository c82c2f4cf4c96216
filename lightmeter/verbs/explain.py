"""explain: which parts of a picture an answer rests on. NumPy, Pillow and a runner; no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import WEIGHTS, Bundle
from lightmeter.runners import maps_of
from lightmeter.verbs.predict import Predictor
from lightmeter.verbs.verify import probabilities

_PATCHES = 8  # patches in a row; each covers two of them, so that neighbours overlap
_AT_ONCE = 4  # as many as a server runs at once, or its memory would grow with the first explanation
_SHOWN = 448  # pixels of a side at least, where a heat map is drawn over its picture
_OPAQUE = 0.55

Method = Literal["class activation map", "occlusion"]


@dataclass(frozen=True, eq=False, slots=True)
class Explanation:
    """Where in the canvas the evidence for a class lies.

    Attributes:
        label: the class that is explained.
        method: "class activation map": the class's share of the network's last maps; "occlusion": how far its
            probability falls when a part is covered.
        heat: float32[S, S] in 0..1 on the canvas; all 0 where nothing speaks for the class.
    """

    label: str
    method: Method
    heat: NDArray[np.float32]


class Explainer:
    """Explains the answers of one predictor. Threads may share it."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.bundle = predictor, predictor.bundle
        self._weights = _map_weights(self.bundle)

    @property
    def method(self) -> Method:
        """By which it explains."""
        return "occlusion" if self._weights is None else "class activation map"

    def explain(
        self, canvas: NDArray[np.uint8], label: str, *, between: Callable[[], object] = lambda: None
    ) -> Explanation:
        """The evidence for a class in a canvas uint8[S, S, C].

        Args:
            between: called between runs of the graph; what it raises ends the work.

        Raises:
            UsageError: there is no such class.
        """
        if label not in self.bundle.classes:
            raise UsageError(f"There is no class {label!r}.", "one of " + ", ".join(self.bundle.classes[:20]))
        index = self.bundle.classes.index(label)
        coarse = self._activation(canvas, index)
        if coarse is None:
            coarse = self._occlusion(canvas, index, between)
        coarse = np.maximum(coarse, 0)
        most = float(coarse.max())
        heat = _enlarged(coarse / most if most > 0 else coarse, len(canvas))
        return Explanation(label, self.method, heat)

    def _activation(self, canvas: NDArray[np.uint8], index: int) -> NDArray[np.float32] | None:
        """float32[H, W]: the class's map, of which its logit is the mean; less the mean over the classes."""
        if self._weights is None:
            return None
        maps = maps_of(self.predictor.runner, canvas[None])
        assert maps is not None
        weights = self._weights[index] - self._weights.mean(axis=0)
        found: NDArray[np.float32] = np.tensordot(weights, maps[0], axes=1).astype(np.float32)
        return found

    def _occlusion(self, canvas: NDArray[np.uint8], index: int, between: Callable[[], object]) -> NDArray[np.float32]:
        """float32[P, P]: the fall of the class's probability, averaged over the patches that cover a place."""
        side = len(canvas)
        edges = np.linspace(0, side, _PATCHES + 1).round().astype(int)
        grey = canvas.mean(axis=(0, 1)).round().astype(np.uint8)
        covered = []
        places = [(row, column) for row in range(_PATCHES - 1) for column in range(_PATCHES - 1)]
        for row, column in places:
            changed = canvas.copy()
            changed[edges[row] : edges[row + 2], edges[column] : edges[column + 2]] = grey
            covered.append(changed)
        every = np.stack([canvas, *covered])
        logits = []
        for first in range(0, len(every), _AT_ONCE):
            between()
            logits.append(self.predictor.runner(every[first : first + _AT_ONCE]))
        shares = probabilities(np.concatenate(logits), self.bundle.temperature)[:, index]
        total, count = np.zeros((_PATCHES, _PATCHES), np.float32), np.zeros((_PATCHES, _PATCHES), np.float32)
        for (row, column), share in zip(places, shares[1:], strict=True):
            total[row : row + 2, column : column + 2] += shares[0] - share
            count[row : row + 2, column : column + 2] += 1
        return total / count


def explain(bundle: Bundle, file: Path, *, label: str | None = None) -> tuple[Explanation, NDArray[np.uint8]]:
    """The evidence in a picture for a class, by default the likeliest, and the canvas uint8[S, S, C] it was found on.

    Raises:
        UsageError: no such file, or no such class.
        BadImageError: it cannot be decoded.
    """
    if not file.is_file():
        raise UsageError(f"There is no {file}.", "a picture")
    predictor = Predictor(bundle)
    canvas = predictor.canvas(file.read_bytes())
    if label is None:
        label = predictor.answer([file.name], canvas[None], topk=1)[0].label
    assert label is not None
    return Explainer(predictor).explain(canvas, label), canvas


def overlay(canvas: NDArray[np.uint8], heat: NDArray[np.float32], *, opacity: float = _OPAQUE) -> Image.Image:
    """The canvas uint8[S, S, C] with the heat over it, enlarged to be looked at."""
    picture = Image.fromarray(canvas if canvas.shape[2] == 3 else canvas[:, :, 0]).convert("RGB")
    times = max(1, -(-_SHOWN // len(canvas)))
    size = (len(canvas) * times, len(canvas) * times)
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    strength = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))[..., None]
    shown = np.asarray(picture, np.float32)
    mixed = shown * (1 - opacity * strength) + opacity * strength * _colours(strength)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def _colours(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """0..1 -> from violet over red to yellow, which differ in brightness, too: float32[..., 3] in 0..255."""
    stops = np.array([[60, 15, 110], [190, 55, 85], [250, 140, 40], [252, 255, 165]], np.float32)
    place = heat[..., 0] * (len(stops) - 1)
    channels = [np.interp(place, range(len(stops)), stops[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def _enlarged(coarse: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    found = np.asarray(Image.fromarray(coarse.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))
    return found.clip(0, 1)


def _map_weights(bundle: Bundle) -> NDArray[np.float32] | None:
    """float32[K, F], or None where the bundle has no maps."""
    if not bundle.map_weights:
        return None
    with safe_open(bundle.path / WEIGHTS, framework="np") as file:
        weights: NDArray[np.float32] = file.get_tensor(bundle.map_weights).astype(np.float32)
    return weights

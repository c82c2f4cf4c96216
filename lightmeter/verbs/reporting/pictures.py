"""Canvases to small images inside the page, and which of them are worth looking at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightmeter.nouns.evaluation import Evaluation
from lightmeter.verbs.reporting.material import Material
from lightmeter.verbs.reporting.words import percent

if TYPE_CHECKING:
    from lightmeter.nouns.pack import Pack

GALLERY = 12
"""Pictures in each of the two galleries."""

SAMPLED = 30
"""Classes up to which each shows several pictures; of more, the first ones show one each."""

_MOST, _LEAST, _ALL = 12, 6, 160  # sample pictures of a class, and of all classes together
_MOSAIC = 60
_LARGE, _SMALL = 160, 80  # pixels, of a picture in the gallery and in the samples
_EXACT = 32  # pixels up to which a picture is kept as it is; JPEG would smear it and save little


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture of the gallery: its id, image, label, prediction, the prediction's probability and the label's."""

    id: str
    image: str
    label: str
    predicted: str
    probability: str
    own: str
    right: bool


def data_uri(canvas: NDArray[np.uint8], largest: int) -> str:
    """A canvas uint8[S, S, C] as a data URI: PNG as it is where it is tiny, else JPEG of at most `largest` pixels."""
    array = canvas[..., 0] if canvas.shape[-1] == 1 else canvas
    image = Image.fromarray(np.ascontiguousarray(array))
    stream = io.BytesIO()
    if max(image.size) <= _EXACT:
        image.save(stream, format="PNG", optimize=True)
        kind = "png"
    else:
        image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
        image.save(stream, format="JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def gallery(e: Evaluation, pack: Pack) -> tuple[list[Shown], list[Shown]]:
    """The most confident mistakes and the least certain predictions. Raises DataError for an id that is not there."""
    worst, unsure = e.worst_mistakes(GALLERY), e.least_certain(GALLERY)
    return [_shown(e, pack, int(row)) for row in worst], [_shown(e, pack, int(row)) for row in unsure]


def _shown(e: Evaluation, pack: Pack, row: int) -> Shown:
    canvas = np.asarray(pack.pixels[int(pack.rows([e.ids[row]])[0])])
    return Shown(
        id=e.ids[row],
        image=data_uri(canvas, _LARGE),
        label=e.classes[e.labels[row]],
        predicted=e.classes[e.predicted[row]],
        probability=percent(float(e.confidence[row])),
        own=percent(float(e.probabilities[row, e.labels[row]])),
        right=bool(e.correct[row]),
    )


def samples(material: Material, pack: Pack, classes: Sequence[str]) -> list[list[str]]:
    """Per class some training pictures as data URIs, spread evenly; empty where a class has none to show."""
    assert material.split is not None
    rows = pack.rows(material.split.train)
    labels = np.asarray(pack.labels)[rows]
    each = max(_LEAST, min(_MOST, _ALL // max(1, len(classes)))) if len(classes) <= SAMPLED else 1
    shown: list[list[str]] = []
    for label in range(len(classes)):
        own = rows[labels == label] if len(classes) <= SAMPLED or label < _MOSAIC else rows[:0]
        some = own[np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).astype(int))] if len(own) else own
        shown.append([data_uri(np.asarray(pack.pixels[int(row)]), _SMALL) for row in some])
    return shown

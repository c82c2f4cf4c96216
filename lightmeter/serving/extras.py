"""What an answer may carry besides its label: where the evidence lies, and training pictures like it."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightmeter.serving.limits import Deadline
from lightmeter.serving.shelf import Served


def heat(served: Served, canvas: NDArray[np.uint8], label: str, deadline: Deadline) -> dict[str, str]:
    """An ExplanationModel's fields. Raises Problem (504)."""
    deadline.check()
    found = served.explainer.explain(canvas, label, between=deadline.check)
    stream = io.BytesIO()
    Image.fromarray((found.heat * 255).round().astype(np.uint8)).save(stream, "PNG")
    return {"label": label, "method": found.method, "heat_png": base64.b64encode(stream.getvalue()).decode()}


def alike(served: Served, canvases: NDArray[np.uint8], count: int) -> list[list[dict[str, Any]]]:
    """For each canvas the fields of its NeighbourModels."""
    assert served.neighbours is not None
    return [
        [
            {
                "id": one.id,
                "label": one.label,
                "similarity": round(one.similarity, 4),
                "picture_png": base64.b64encode(served.neighbours.picture(one.row)).decode(),
            }
            for one in some
        ]
        for some in served.neighbours.nearest(canvases, count)
    ]

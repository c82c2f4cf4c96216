"""any_size: a bundle -> one ONNX file that takes whole pictures and must name those of the exam as the bundle does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import ExamError
from lightmeter.exporters.any_size import any_size
from lightmeter.nouns.bundle import GRAPH, Bundle
from lightmeter.nouns.files import write_atomic
from lightmeter.verbs.verify import bundle_in

_GREY_LEVELS = 1.0  # that canvases may be off, on average over each


@dataclass(frozen=True, slots=True)
class AnySize:
    """A file that passed.

    Attributes:
        n: exam pictures.
        grey_levels: the worst canvas beside Pillow's, on average over its pixels.
        max_abs_diff: of the logits.
        top1_flips: always 0.
    """

    file: Path
    n: int
    grey_levels: float
    max_abs_diff: float
    top1_flips: int

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "file": str(self.file)}


def export_any_size(path: Path, out: Path) -> AnySize:
    """Write `out`, an ONNX graph of pictures uint8[N, H, W, C], upright, of any one size, to logits and probabilities.

    It needs neither Pillow nor this package: resizing and the temperature are inside, and class names, the threshold
    for abstaining and the bundle's seal stand in its metadata. Decoding, EXIF turns and alpha stay with the caller.

    Args:
        path: a bundle, or a run.

    Raises:
        BundleError, StorageError: no whole bundle, or a file that cannot be written.
        ExamError: its own resizing is off by more than a grey level on average, or an answer changes; nothing is left.
    """
    import onnx
    import onnxruntime

    bundle = Bundle.open(bundle_in(path))
    model = any_size(onnx.load(str(bundle.path / GRAPH)), bundle.preprocess, bundle.temperature)
    about = {
        "classes": "\n".join(bundle.classes),
        "abstain_below": repr(bundle.abstain_below),
        "bundle": bundle.seal,
    }
    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    data = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    exam = bundle.exam()
    worst = difference = 0.0
    flips = 0
    for image, canvas, logits in zip(exam.images, exam.canvases, exam.logits, strict=True):
        picture = bundle.preprocess.upright(image)
        found, seen = session.run(["logits", "canvases"], {"pictures": picture[None]})
        worst = max(worst, float(np.abs(seen[0].astype(np.float64) - canvas).mean()))
        difference = max(difference, float(np.abs(found[0] - logits).max()))
        flips += int(not np.isfinite(found).all() or found[0].argmax() != logits.argmax())
    if worst > _GREY_LEVELS or flips:
        raise ExamError(
            f"The graph that resizes for itself is off by {worst:.2f} grey levels, and {flips} of {len(exam.logits)} "
            "answers changed.",
            f"at most {_GREY_LEVELS:g} grey level on average, and the same answers",
            "use the bundle with its own decoding and resizing.",
        )
    write_atomic(out, data)
    return AnySize(out, len(exam.logits), worst, difference, flips)

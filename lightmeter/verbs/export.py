"""Export: a trained module -> a bundle that has passed its exam, or an error and no bundle."""

from __future__ import annotations

import importlib.metadata
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from lightmeter import __version__
from lightmeter.exporters import EXPORTERS
from lightmeter.exporters.onnx import plain_copy, reference_logits
from lightmeter.models.base import Model, map_weights
from lightmeter.models.fused import fused
from lightmeter.models.views import MultiView
from lightmeter.nouns.bundle import (
    CANVASES,
    EXAM,
    FORMAT,
    GRAPH,
    IMAGES,
    LOGITS,
    MOST_EXAM_IMAGES,
    WEIGHTS,
    Bundle,
    Tolerance,
    write_card,
)
from lightmeter.nouns.examples import FILE as EXAMPLES
from lightmeter.nouns.examples import Examples
from lightmeter.nouns.files import atomic_folder, read_json, write_atomic, write_json
from lightmeter.nouns.preprocess import Preprocess, describe
from lightmeter.nouns.seen import FILE as SEEN
from lightmeter.runners import Runner, open_runner
from lightmeter.verbs.verify import ExamResult, probabilities, sit_exam

_COMPARED = 4  # pictures by which a folded network is held against the one it was made from


def write_bundle(
    path: Path,
    module: nn.Module,
    *,
    classes: Sequence[str],
    preprocess: Preprocess,
    temperature: float,
    abstain_below: float,
    recipe_key: str,
    scores: dict[str, Any],
    provenance: dict[str, Any],
    exam: Sequence[tuple[str, bytes]],
    seen: bytes | None = None,
    examples: Callable[[Runner], Examples] | None = None,
) -> ExamResult:
    """Write `module` and its exam to the folder `path`, replacing a bundle that stands there.

    Args:
        module: raw pixels uint8[N, S, S, C] -> logits; left as it is. A MultiView is exported with its views, and
            its plain model's weights are kept under their own names.
        exam: (id, original file's bytes), at most 32; they travel with the bundle, metadata and all.
        seen: what the model has seen, as `nouns.seen` writes it.
        examples: training pictures to travel with it, by the bundle's own runner.

    Raises:
        ExamError: the exported graph does not answer as the module does; nothing is left behind.
        BundleError: the module has no ONNX form.
        StorageError: the folder cannot be written.
    """
    assert 1 <= len(exam) <= MOST_EXAM_IMAGES, f"{len(exam)} exam images"
    canvases = np.stack([preprocess.canvas(data).pixels for _, data in exam])
    plain = module.model if isinstance(module, MultiView) else module
    with atomic_folder(path) as folder:
        sizes = {"size": preprocess.size, "channels": preprocess.channels}
        maps = map_weights(plain) if isinstance(plain, Model) else ""
        expected = reference_logits(module, canvases)
        graph = _traced(module, plain, canvases, expected) if isinstance(plain, Model) else module
        if maps or examples is not None:
            assert isinstance(graph, MultiView)
            given = _WithInner(graph, maps=bool(maps))
            EXPORTERS["onnx"](given, folder / GRAPH, **sizes, outputs=("logits", "maps" if maps else "features"))
        else:
            EXPORTERS["onnx"](graph, folder / GRAPH, **sizes)
        # Each tensor on its own: safetensors refuses tensors that share memory.
        weights = {
            name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in plain.state_dict().items()
        }
        write_atomic(folder / WEIGHTS, save(weights))
        _write_exam(folder, exam, canvases, expected)
        if seen is not None:
            write_atomic(folder / SEEN, seen)
        card = {
            **made_now(),
            "graph": "onnx",
            "classes": list(classes),
            "preprocess": preprocess.model_dump(mode="json"),
            "temperature": temperature,
            "abstain_below": abstain_below,
            "views": module.views if isinstance(module, MultiView) else 1,
            "map_weights": maps,
            "recipe_key": recipe_key,
            "scores": scores,
            "provenance": provenance,
        }
        write_card(folder, card)
        bundle = Bundle.open(folder)
        runner = open_runner(bundle)
        passed = sit_exam(bundle, runner)
        if examples is not None:
            write_atomic(folder / EXAMPLES, examples(runner).dumps())
            write_card(folder, card)
        return passed


def _traced(module: nn.Module, plain: Model, canvases: NDArray[np.uint8], expected: NDArray[np.float32]) -> MultiView:
    """What is given to the exporter, whose time goes by the layers: folded, where that would pass the exam."""
    views = module.views if isinstance(module, MultiView) else 1
    own, allowed = plain_copy(plain), Tolerance()
    folded = MultiView(fused(own, torch.from_numpy(canvases[:_COMPARED])), views).eval()
    logits = reference_logits(folded, canvases)
    apart = np.abs(probabilities(logits, 1.0) - probabilities(expected, 1.0)).max()
    near = np.abs(logits - expected).max() <= allowed.logits / 2 and apart <= allowed.probability / 2
    return folded if near else MultiView(own, views).eval()


class _WithInner(nn.Module):
    """A model and its views beside what it computes on the way: its last maps, or its features where there are none."""

    def __init__(self, views: MultiView, *, maps: bool) -> None:
        super().__init__()
        self.views, self.maps = views, maps

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8[N, S, S, C] -> logits float32[N, K] and, of the pictures as they are, float32[N, F, H, W] or [N, F]."""
        model, stacked = self.views.model, self.views.stacked(pixels)
        inner = model.maps(stacked) if self.maps else model.features(stacked)
        assert inner is not None
        logits = self.views.mean(model.head(inner.mean(dim=(2, 3)) if self.maps else inner).to(torch.float32))
        return logits, inner.unflatten(0, (self.views.views, -1))[0].to(torch.float32)


def amend_card(path: Path, **fields: Any) -> None:
    """Write fields of a bundle's card anew: temperature and scores are known only once the bundle exists."""
    bundle = Bundle.open(path)
    card = bundle.model_dump(mode="json", exclude={"format", "files", "seal"})
    write_card(path, {**card, **fields})


def _write_exam(
    folder: Path, exam: Sequence[tuple[str, bytes]], canvases: NDArray[np.uint8], logits: NDArray[np.float32]
) -> None:
    items: list[dict[str, str]] = []
    for number, (id, data) in enumerate(exam):
        name = f"{IMAGES}/{number:03d}{_suffix(id, data)}"
        write_atomic(folder / name, data)
        items.append({"file": name, "id": id})
    for name, array in ((CANVASES, canvases), (LOGITS, logits)):
        _write_array(folder / name, array)
    _write_items(folder, items)


def rewrite_answers(folder: Path, logits: NDArray[np.float32]) -> None:
    """Put other answers, float32[n, K], into the exam of a bundle, as made with the libraries of today."""
    _write_array(folder / LOGITS, logits)
    _write_items(folder, read_json(folder / EXAM, kind="exam", newest=FORMAT)["items"])


def made_now() -> dict[str, str]:
    """The card's fields that say what made the bundle, and when."""
    return {"lightmeter": __version__, "created": datetime.now(UTC).isoformat(timespec="seconds")}


def _write_items(folder: Path, items: list[dict[str, str]]) -> None:
    import onnxruntime  # late: see `open_session`

    made_with = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "onnxruntime": onnxruntime.__version__,
        "onnx": importlib.metadata.version("onnx"),
    }
    document = {"format": FORMAT, "items": items, "tolerance": Tolerance().model_dump(), "made_with": made_with}
    write_json(folder / EXAM, document)


def _write_array(path: Path, array: NDArray[Any]) -> None:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    write_atomic(path, stream.getvalue())


def _suffix(id: str, data: bytes) -> str:
    """The file's own ending where that is a plain one, else one by what it holds: array items have no ending."""
    own = PurePosixPath(id).suffix.lower()
    return own if own[1:].isalnum() and own.isascii() and len(own) <= 5 else f".{describe(data).format.lower()}"

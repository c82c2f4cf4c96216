"""extract: the features of a frozen backbone, by PyTorch or from a graph by ONNX Runtime."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmeter import __version__
from lightmeter.errors import BundleError, FormatError
from lightmeter.exporters.onnx import OPSET, export_onnx
from lightmeter.models.base import Model, Normalise
from lightmeter.models.fused import fused
from lightmeter.nouns.files import read_json, write_json
from lightmeter.runners.onnx import open_session
from lightmeter.verbs.evaluate import AT_ONCE
from lightmeter.verbs.execution import Execution

AGREES = 1e-3
"""Largest difference of any feature, relative to their root mean square."""

_ANOTHER_SIDE = 32  # pixels more than the traced one, at which a graph is tried

Extract = Callable[[Tensor], Tensor]
"""uint8[B, S, S, C] -> float32[B, F], on the CPU."""


def handed_over(execution: Execution) -> int:
    """How many pictures are best given to an extractor at a time: some for each core, so that few wait for the last."""
    lanes = 1 if execution.engine == "torch" else max(1, torch.get_num_threads() // execution.threads)
    return max(AT_ONCE, execution.micro_batch * (1 if lanes == 1 else 4 * lanes))


@contextlib.contextmanager
def extractor(model: Model, execution: Execution, pixels: Tensor, *, cache: Path) -> Iterator[Extract]:
    """A function that computes features as `execution` says, of any number of pictures.

    Args:
        model: is left as it is.
        pixels: a few pictures, by which a folded copy is held against the model.
        cache: folder that keeps the graph, where one is made.

    Raises:
        BundleError: the model has no ONNX form, and `execution` asks for one.
    """
    quick = fused(model, pixels)
    if execution.engine == "torch":
        execution.place(quick)
        with execution.pool():
            yield lambda some: _by_torch(quick, execution, some)
        return
    session = _session(quick, execution.threads, cache)
    with ThreadPoolExecutor(max(1, torch.get_num_threads() // execution.threads)) as lanes:

        def by_graph(some: Tensor) -> Tensor:
            parts = [part.contiguous().numpy() for part in some.split(execution.micro_batch)]
            return torch.from_numpy(np.concatenate(list(lanes.map(partial(_answer, session), parts))))

        yield by_graph


def features_of(module: nn.Module, pixels: Tensor) -> Tensor:
    """`Model.features` of a module that is one: uint8[N, S, S, C] to float[N, F]."""
    assert isinstance(module, Model)
    return module.features(pixels)


def architecture(model: Model) -> str:
    """What decides the features beside the weights: the parts before the head, and the scale of its pixels.

    One file of weights can start networks that differ in options, such as which borders are padded.
    """
    parts = [f"{name}: {part!r}" for name, part in model.named_children() if name != model.head_name]
    scales = [part for part in model.modules() if isinstance(part, Normalise)]
    return " ".join([*parts, *(str((part.mean.flatten().tolist(), part.std.flatten().tolist())) for part in scales)])


def _by_torch(model: Model, execution: Execution, pixels: Tensor) -> Tensor:
    with torch.no_grad(), execution.autocast():
        parts = [
            model.features(some.to(execution.device)).float().cpu() for some in pixels.split(execution.micro_batch)
        ]
    return torch.cat(parts)


class _Features(nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model.features(pixels).to(torch.float32)


def graphs_of(model: Model, cache: Path) -> tuple[Path, Path]:
    """Where the graph of a folded model is kept: one for any side, or one for its own."""
    identity, folder = _identity(model), cache / "graphs"
    return folder / f"{identity}.onnx", folder / f"{identity}-{model.size}.onnx"


def _session(model: Model, threads: int, cache: Path) -> Any:
    """The graph of `model` up to its head, loaded; it is made where the cache has none that can be read."""
    of_any_side, of_this = graphs_of(model, cache)
    for path in (of_any_side, of_this):
        if path.exists():
            try:
                return open_session(path, threads)
            except BundleError:
                path.unlink(missing_ok=True)
    began = time.perf_counter()
    fresh = of_this.with_name(f"{of_this.stem}-{os.getpid()}{of_this.suffix}")  # others may be making the same
    size, channels = model.size, model.channels
    export_onnx(_Features(model), fresh, size=size, channels=channels, outputs=("features",), any_side=True)
    session = open_session(fresh, threads)
    final = of_any_side if _serves_any_side(session, model) else of_this
    write_json(final.with_suffix(".json"), {"format": 1, "seconds": round(time.perf_counter() - began, 2)})
    fresh.replace(final)
    return session


def made_in(model: Model, cache: Path) -> float | None:
    """Seconds that making its graph took; None where there is none, or nobody wrote that down."""
    for path in graphs_of(model, cache):
        with contextlib.suppress(OSError, FormatError, KeyError, TypeError, ValueError):
            return float(read_json(path.with_suffix(".json"), kind="note on a graph", newest=1)["seconds"])
    return None


def _answer(session: Any, some: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        found: NDArray[np.float32] = session.run(["features"], {"pixels": some})[0]
    except Exception as error:  # ONNX Runtime has an exception class per status code
        raise BundleError(f"The graph of the features failed on {len(some)} pictures ({error}).") from error
    return found


def _serves_any_side(session: Any, model: Model) -> bool:
    """Whether a graph traced at one side computes what the network does at another, too."""
    side = model.size + _ANOTHER_SIDE
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, side, side, model.channels), dtype=torch.uint8, generator=drawn)
    with contextlib.suppress(Exception), torch.no_grad():  # a network of one side alone fails as it likes
        expected = model.features(pixels)
        found = torch.from_numpy(_answer(session, pixels.numpy()))
        return found.shape == expected.shape and difference(found, expected) <= AGREES
    return False


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest one, relative to the root mean square of what was expected; 1 where it is not finite."""
    error = float((found - expected).abs().max()) / (float(expected.square().mean().sqrt()) or 1.0)
    return error if math.isfinite(error) else 1.0


def _identity(model: Model) -> str:
    found = hashlib.sha256(f"{architecture(model)} {__version__} {torch.__version__} {OPSET}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(f"{model.head_name}."):
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:24]

"""extract: the features of a frozen backbone by PyTorch, or by ONNX Runtime where making a graph of it pays."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmeter import __version__
from lightmeter.errors import BundleError, FormatError, LightmeterError
from lightmeter.exporters.onnx import OPSET, export_onnx, export_seconds
from lightmeter.models.base import Model, Normalise
from lightmeter.models.fused import fused
from lightmeter.models.views import MultiView
from lightmeter.nouns.files import read_json, write_json
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.runners.onnx import open_session
from lightmeter.verbs.evaluate import AT_ONCE
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.measure import (
    WORTH,
    Measurement,
    inference_rate,
    keep,
    machine_words,
    measure_inference,
    recalled,
    seconds_per_call,
)

_LITTLE = 1.5  # times the seconds for measuring: where features take less, the plain way is good enough
_FEW = 16  # pictures at a time in it
_GLANCE = 0.5  # seconds that tell whether they do
_PAYS = 3.0  # times the seconds of an export that the features must take: a graph was seen to run twice as fast
_AGREES = 1e-3  # largest difference of any feature, relative to their root mean square
_EXPORT_MARGIN, _EXAM_SECONDS = 1.2, 1.0
_ANOTHER_SIDE = 32  # pixels more than the traced one, at which a graph is tried
_TOGETHER, _ALONE = 8, 4  # pictures at a time in one call on all cores, and in each of several calls on one core each

Extract = Callable[[Tensor], Tensor]
"""uint8[B, S, S, C] -> float32[B, F], on the CPU."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """How features are computed here.

    Attributes:
        execution: the fastest right way.
        measurements: of all ways tried, plain float32 first.
        side_by_side: images a second of a graph called once on each core, as bundles are scored; None where none was
            tried.
        made: seconds that making the graph took, where it was made, now or before.
    """

    execution: Execution
    measurements: list[Measurement]
    side_by_side: float | None = None
    made: float | None = None

    @property
    def rate(self) -> float:
        """Images a second of the best of them."""
        return max(one.images_per_second for one in self.measurements if one.accepted)

    def export_seconds(self, model: Model) -> float:
        """About what exporting the bundle of `model` and its exam take: what this machine took for much the same."""
        guessed = export_seconds(model)
        return guessed if self.made is None else min(guessed, _EXPORT_MARGIN * self.made + _EXAM_SECONDS)

    def scoring_rate(self, model: Model, inputs: Tensor, views: Literal[1, 2, 6], *, seconds: float) -> float:
        """Pictures a second that the bundle of `model` will score in so many views, in float32 on the processor.

        Args:
            seconds: to measure what is not known yet.
        """
        if self.execution.device == "cpu":
            return (self.side_by_side or self.measurements[0].images_per_second) / views
        some = inputs[:AT_ONCE]
        served = Execution("cpu", "float32", "channels_last", len(some), torch.get_num_threads())
        return inference_rate(MultiView(model, views), some, served, seconds=seconds)


def choose_extraction(
    model: Model,
    inputs: Tensor,
    images: int,
    *,
    seconds: float,
    cache: Path,
    most: float = math.inf,
    progress: Progress = SILENT,
) -> Extraction:
    """The fastest right way on this machine to compute what the head of `model` reads.

    Args:
        inputs: some pictures uint8[M, S, S, C].
        images: how many are to be computed: for few of them no other way is tried, for more of them no graph is made.
        seconds: to spend on measuring, roughly; making a graph comes on top.
        cache: folder that keeps the graph, and for a month which way was the best, whatever the side: then that one
            and plain float32 are all that is measured.
        most: seconds that features will take at most, where so many would not be computed in the time there is.
        progress: is told of each way.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    plain = Execution("cpu", "float32", "channels_last", min(len(inputs), _FEW), torch.get_num_threads())
    first: list[Measurement] = []
    if device == "cpu":
        rate = inference_rate(model, inputs[:_FEW], plain, seconds=min(_GLANCE, seconds / 10))
        first = [Measurement(f"inference, {plain.words}", rate, 0.0, True)]
        if images / rate < _LITTLE * seconds:
            progress.say(first[0].sentence())
            return Extraction(plain, first)
    pays = device == "cpu" and (
        any(path.exists() for path in _graphs(fused(model, inputs[:4]), cache))
        or min(most, images / first[0].images_per_second) >= _PAYS * export_seconds(model)
    )
    whole = Execution("cpu", "float32", "contiguous", _TOGETHER, plain.threads, "onnxruntime")
    graphs = (whole, replace(whole, micro_batch=_ALONE, threads=1)) if pays else ()
    words = [*machine_words(device), architecture(model), str(pays)]
    digest = hashlib.sha256("\n".join(words).encode()).hexdigest()[:24]
    kept = cache / "executions" / f"features-{digest}.json"
    known = recalled(kept)
    if known is not None and first:
        again = Extraction(plain, first)
        for way in graphs if known[0].engine == "onnxruntime" else (*graphs, known[0]):
            again = _tried(model, inputs, again, way, seconds=seconds, cache=cache)
        if again.execution.engine == known[0].engine and again.measurements[-1].accepted:
            for one in again.measurements:
                progress.say(one.sentence())
            return again
    chosen = Extraction(*measure_inference(model, inputs, features_of, seconds=seconds, progress=progress))
    for way in graphs:
        chosen = _tried(model, inputs, chosen, way, seconds=seconds, cache=cache)
        progress.say(chosen.measurements[-1].sentence())
    if chosen.execution.dtype == "float32":  # by another precision more is asked than a look can tell
        keep(kept, chosen.execution, chosen.measurements)
    return chosen


def _tried(
    model: Model, inputs: Tensor, chosen: Extraction, way: Execution, *, seconds: float, cache: Path
) -> Extraction:
    """`chosen`, with one more way in float32 measured and held against the model's own features."""
    error, rate, note = 1.0, 0.0, ""
    with torch.no_grad():
        expected = features_of(model.eval(), inputs)
    try:
        with extractor(model, way, inputs[:4], cache=cache) as extract:
            error = _error(extract(inputs), expected)
            rate = len(inputs) / seconds_per_call(lambda: extract(inputs), seconds / 5)
    except LightmeterError as refused:
        note = str(refused)
    right = not note and error <= _AGREES
    if not right:
        note = note or f"refused: outputs off by {error:.1%}"
    measured = Measurement(f"inference, {way.words}", rate, error, right, note)
    side_by_side = way.engine == "onnxruntime" and way.threads == 1 and right
    return Extraction(
        way if right and rate > WORTH * chosen.rate else chosen.execution,
        [*chosen.measurements, measured],
        rate if side_by_side else chosen.side_by_side,
        _made(fused(model, inputs[:4]), cache) if way.engine == "onnxruntime" else chosen.made,
    )


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


def _graphs(model: Model, cache: Path) -> tuple[Path, Path]:
    """Where the graph of a folded model is kept: one for any side, or one for its own."""
    identity, folder = _identity(model), cache / "graphs"
    return folder / f"{identity}.onnx", folder / f"{identity}-{model.size}.onnx"


def _session(model: Model, threads: int, cache: Path) -> Any:
    """The graph of `model` up to its head, loaded; it is made where the cache has none that can be read."""
    of_any_side, of_this = _graphs(model, cache)
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


def _made(model: Model, cache: Path) -> float | None:
    """Seconds that making its graph took; None where there is none, or nobody wrote that down."""
    for path in _graphs(model, cache):
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
        return found.shape == expected.shape and _error(found, expected) <= _AGREES
    return False


def _error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the root mean square of what was expected; 1 where it is not finite."""
    error = float((found - expected).abs().max()) / (float(expected.square().mean().sqrt()) or 1.0)
    return error if math.isfinite(error) else 1.0


def _identity(model: Model) -> str:
    found = hashlib.sha256(f"{architecture(model)} {__version__} {torch.__version__} {OPSET}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(f"{model.head_name}."):
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:24]

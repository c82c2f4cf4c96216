"""extract: the features of a frozen backbone by PyTorch, or by ONNX Runtime where making a graph of it pays."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmeter import __version__
from lightmeter.errors import BundleError, LightmeterError
from lightmeter.exporters.onnx import OPSET, export_onnx, export_seconds
from lightmeter.models.base import Model, Normalise
from lightmeter.models.fused import fused
from lightmeter.models.views import MultiView
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.runners.onnx import open_session
from lightmeter.verbs.evaluate import AT_ONCE
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.measure import WORTH, Measurement, inference_rate, measure_inference, seconds_per_call

_LITTLE = 1.5  # times the seconds for measuring: where features take less, the plain way is good enough
_FEW = 16  # pictures at a time in it
_GLANCE = 0.5  # seconds that tell whether they do
_PAYS = 3.0  # times the seconds of an export that the features must take: a graph was seen to run twice as fast
_AGREES = 1e-3  # largest difference of any feature, relative to their root mean square
_TOGETHER, _ALONE = 8, 4  # pictures at a time in one call on all cores, and in each of several calls on one core each

Extract = Callable[[Tensor], Tensor]
"""uint8[B, S, S, C] -> float32[B, F], on the CPU."""


def choose_extraction(
    model: Model,
    inputs: Tensor,
    images: int,
    *,
    seconds: float,
    cache: Path,
    spare: float = math.inf,
    progress: Progress = SILENT,
) -> tuple[Execution, list[Measurement]]:
    """The fastest right way on this machine to compute what the head of `model` reads.

    Args:
        inputs: some pictures uint8[M, S, S, C].
        images: how many are to be computed: for few of them no other way is tried, for more of them no graph is made.
        seconds: to spend on measuring, roughly; making a graph comes on top.
        cache: folder that keeps the graph.
        spare: seconds that making a graph may take at most.
        progress: is told of each way.
    """
    if not torch.cuda.is_available():
        plain = Execution("cpu", "float32", "channels_last", min(len(inputs), _FEW), torch.get_num_threads())
        rate = inference_rate(model, inputs[:_FEW], plain, seconds=min(_GLANCE, seconds / 10))
        if images / rate < _LITTLE * seconds:
            only = Measurement(f"inference, {plain.words}", rate, 0.0, True)
            progress.say(only.sentence())
            return plain, [only]
    execution, found = measure_inference(model, inputs, features_of, seconds=seconds, progress=progress)
    best = max(one.images_per_second for one in found if one.accepted)
    making = export_seconds(model)
    if execution.device != "cpu" or making > spare or images / best < _PAYS * making:
        return execution, found
    with torch.no_grad():
        expected = features_of(model.eval(), inputs)
    scale = float(expected.square().mean().sqrt()) or 1.0
    threads = torch.get_num_threads()
    for count, size in {threads: _TOGETHER, 1: _ALONE}.items():
        way = Execution("cpu", "float32", "contiguous", size, count, "onnxruntime")
        try:
            with extractor(model, way, inputs[:4], cache=cache) as extract:
                error = float((extract(inputs) - expected).abs().max()) / scale
                rate = len(inputs) / seconds_per_call(lambda: extract(inputs), seconds / 5)
        except LightmeterError as refused:
            progress.say(f"  ONNX Runtime is not tried: {refused}")
            break
        if not math.isfinite(error):
            error = 1.0
        right = error <= _AGREES
        note = "" if right else f"refused: outputs off by {error:.1%}"
        found.append(Measurement(f"inference, {way.words}", rate, error, right, note))
        progress.say(found[-1].sentence())
        if right and rate > WORTH * best:
            best, execution = rate, way
    return execution, found


def scoring_rate(
    model: Model, inputs: Tensor, views: Literal[1, 2, 6], device: str, found: list[Measurement], *, seconds: float
) -> float:
    """Pictures a second that the bundle of `model` will score in so many views, in float32 on the processor.

    Args:
        device, found: as `choose_extraction` found it. What was measured first is plain float32: on a processor that
            is planned with, as the bundle's library was seen to be faster for MobileNetV2 (docs/LOG.md).
        seconds: to measure otherwise.
    """
    if device == "cpu":
        return found[0].images_per_second / views
    some = inputs[:AT_ONCE]
    served = Execution("cpu", "float32", "channels_last", len(some), torch.get_num_threads())
    return inference_rate(MultiView(model, views), some, served, seconds=seconds)


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

    def answered(some: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            found: NDArray[np.float32] = session.run(["features"], {"pixels": some})[0]
        except Exception as error:  # ONNX Runtime has an exception class per status code
            raise BundleError(f"The graph of the features failed on {len(some)} pictures ({error}).") from error
        return found

    with ThreadPoolExecutor(max(1, torch.get_num_threads() // execution.threads)) as lanes:

        def by_graph(some: Tensor) -> Tensor:
            parts = [part.contiguous().numpy() for part in some.split(execution.micro_batch)]
            return torch.from_numpy(np.concatenate(list(lanes.map(answered, parts))))

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


def _session(model: Model, threads: int, cache: Path) -> Any:
    """The graph of `model` up to its head, loaded; it is made where the cache has none that can be read."""
    path = cache / "graphs" / f"{_identity(model)}.onnx"
    if path.exists():
        try:
            return open_session(path, threads)
        except BundleError:
            path.unlink(missing_ok=True)
    export_onnx(_Features(model), path, size=model.size, channels=model.channels, outputs=("features",))
    return open_session(path, threads)


def _identity(model: Model) -> str:
    found = hashlib.sha256(f"{architecture(model)} {model.size} {__version__} {torch.__version__} {OPSET}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not name.startswith(f"{model.head_name}."):
            found.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:24]

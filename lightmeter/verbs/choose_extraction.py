"""choose_extraction: which way computes the features of a frozen backbone fastest here, and rightly."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lightmeter.errors import LightmeterError
from lightmeter.exporters.onnx import export_seconds
from lightmeter.models.base import Model
from lightmeter.models.fused import fused
from lightmeter.models.views import MultiView
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.verbs.evaluate import AT_ONCE
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.extract import AGREES, architecture, difference, extractor, features_of, graphs_of, made_in
from lightmeter.verbs.measure import WORTH, inference_rate, measure_inference, seconds_per_call
from lightmeter.verbs.measurement import Measurement, keep, machine_words, recalled

_LITTLE = 1.5  # times the seconds for measuring: where features take less, the plain way is good enough
_FEW = 16  # pictures at a time in it
_GLANCE = 0.5  # seconds that tell whether they do
_PAYS = 3.0  # times the seconds of an export that the features must take: a graph was seen to run twice as fast
_EXAM_SECONDS = 0.5
_TOGETHER, _ALONE = 8, 4  # pictures at a time in one call on all cores, and in each of several calls on one core each


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
        return guessed if self.made is None else min(guessed, self.made + _EXAM_SECONDS)

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
        any(path.exists() for path in graphs_of(fused(model, inputs[:4]), cache))
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
        if not chosen.measurements[-1].images_per_second:  # there is no graph, and another try would take as long
            break
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
            error = difference(extract(inputs), expected)
            rate = len(inputs) / seconds_per_call(lambda: extract(inputs), seconds / 5)
    except LightmeterError as refused:
        note = str(refused)
    right = not note and error <= AGREES
    if not right:
        note = note or f"refused: outputs off by {error:.1%}"
    measured = Measurement(f"inference, {way.words}", rate, error, right, note)
    side_by_side = way.engine == "onnxruntime" and way.threads == 1 and right
    return Extraction(
        way if right and rate > WORTH * chosen.rate else chosen.execution,
        [*chosen.measurements, measured],
        rate if side_by_side else chosen.side_by_side,
        made_in(fused(model, inputs[:4]), cache) if way.engine == "onnxruntime" else chosen.made,
    )

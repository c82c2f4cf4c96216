"""A torch module -> one ONNX file, and the module's own answers in float32 to hold that file against."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lightmeter.errors import BundleError
from lightmeter.nouns.files import write_atomic

_Module = TypeVar("_Module", bound=nn.Module)

OPSET = 20
"""The newest operator set that every ONNX Runtime we allow can run."""

EXPORT_SECONDS = 5.0
"""About what an export and its exam take of a network without layers."""

_LAYER_SECONDS = 0.12


def export_seconds(model: nn.Module) -> float:
    """About how long an export of `model` and its exam take: by the layers with weights that are traced."""
    traced = sum(isinstance(part, nn.Conv2d | nn.Linear) for part in model.modules())
    return EXPORT_SECONDS + _LAYER_SECONDS * traced


def export_onnx(
    module: nn.Module,
    path: Path,
    *,
    size: int,
    channels: int,
    outputs: tuple[str, ...] = ("logits",),
    any_side: bool = False,
) -> None:
    """Write `module` as uint8[N, S, S, C] -> float32[N, K], any N, in evaluation mode and float32.

    What the exporter notes about source files and call stacks is left out: it names places on this machine, and
    equal modules should give equal files.

    Args:
        outputs: names of what it returns: logits, and perhaps more.
        any_side: let the graph take canvases of other sides, too. Most networks up to their head are written without
            a trace of the side that they were traced with; of others the answers at another side are wrong, or none,
            so that whoever asks for this must hold them against the module's.

    Raises:
        BundleError: the module does something that has no ONNX form.
    """
    import onnx  # 0.3 s, and needed only here

    example = torch.zeros(2, size, size, channels, dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _out_of_place(plain_copy(module)),
                (example,),
                dynamo=True,
                verbose=False,
                verify=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim("n")},),
            )
        assert program is not None
        graph = program.model_proto
        _strip(graph)
        if any_side:
            _, height, width, _ = graph.graph.input[0].type.tensor_type.shape.dim
            height.dim_param, width.dim_param = "h", "w"
        onnx.checker.check_model(graph)
    except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise BundleError(
            f"The model could not be written as an ONNX graph: {_cause(error)}",
            "a module made of standard operators whose path does not depend on the pixels",
        ) from error
    write_atomic(path, graph.SerializeToString(deterministic=True))


def reference_logits(module: nn.Module, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8[N, S, S, C] -> float32[N, K]: what the module itself says, in float32 on the CPU."""
    with torch.no_grad():
        logits: NDArray[np.float32] = plain_copy(module)(torch.from_numpy(canvases)).numpy()
    return logits


def plain_copy(module: _Module) -> _Module:
    """A copy in evaluation mode, in float32, on the CPU; the module itself stays as it is."""
    return copy.deepcopy(module).eval().to("cpu", torch.float32)


def _out_of_place(module: nn.Module) -> nn.Module:
    """Let no activation overwrite its input: tracing a ReLU6 that does takes a fifth of a second, each time."""
    for part in module.modules():
        if getattr(part, "inplace", False):
            setattr(part, "inplace", False)  # noqa: B010 - no nn.Module declares it
    return module


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the bottom; the exporter wraps it in advice on how to report bugs."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _strip(graph: Any) -> None:
    """Delete the exporter's notes everywhere in a ModelProto."""
    body = graph.graph
    for part in (graph, body, *body.node, *body.input, *body.output, *body.initializer, *body.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    body.ClearField("value_info")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells its own developers (missing torchvision, deprecations) from the user."""
    here = threading.get_ident()

    def wanted(record: logging.LogRecord) -> bool:
        return record.thread != here or not record.name.startswith("torch.onnx") or record.levelno >= logging.ERROR

    handlers = [*logging.getLogger("torch").handlers, *logging.getLogger("torch.onnx").handlers]
    for handler in handlers:
        handler.addFilter(wanted)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(wanted)

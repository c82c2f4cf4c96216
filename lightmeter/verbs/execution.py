"""An Execution: how a model is computed on this machine.

It changes speed and last digits, and by the pictures that pass through the network at once what BatchNorm takes its
statistics from; nothing else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from lightmeter.nouns.glibc import keep_freed

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Execution:
    """Device, precision and memory layout.

    Attributes:
        device: "cpu" or "cuda".
        dtype: of activations; weights stay float32 and so do normalisation statistics.
        memory_format: layout of activations and filters.
        micro_batch: images per forward pass; a larger batch is accumulated from several.
        threads: of PyTorch's pool; of each call where a graph is run, and as many calls at a time as fill the cores.
        engine: what computes. Only features are computed by "onnxruntime", from a graph of the network.
    """

    device: str
    dtype: Literal["float32", "bfloat16"]
    memory_format: Literal["channels_last", "contiguous"]
    micro_batch: int
    threads: int
    engine: Literal["torch", "onnxruntime"] = "torch"

    @property
    def words(self) -> str:
        """As a person reads it."""
        layout = "by ONNX Runtime" if self.engine == "onnxruntime" else self.memory_format.replace("_", "-")
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        return f"{self.dtype}, {layout}, {self.micro_batch} images at a time, {threads}"

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which convolutions and matrix products run in `dtype`."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, DTYPES[self.dtype])

    @contextlib.contextmanager
    def pool(self) -> Iterator[None]:
        """A context in which PyTorch uses so many threads, and memory again; tiny networks are faster, and steadier, on
        one.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with keep_freed():
                yield
        finally:
            torch.set_num_threads(before)

    def place(self, module: nn.Module) -> None:
        """Move a module to the device and lay its filters out as wanted, in place."""
        module.to(self.device)
        lay_out(module, torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format)

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def lay_out(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Give every filter bank of a module this layout, in place."""
    # Not in the annotations of Module.to, though its documentation names it.
    module.to(memory_format=memory_format)  # type: ignore[call-overload]

"""A model to the table of its layers: what each is called, what it hands on, and how many values it holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from lightmeter.models.base import Model, Normalise, layers

_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many values a model holds, counted as Keras counts them.

    Attributes:
        total: parameters, and the running mean and variance of each BatchNorm channel. Constants of the pixels and
            counters of batches are no part of it.
        trainable: those of them that training changes: parameters that are not frozen.
    """

    total: int
    trainable: int

    @property
    def non_trainable(self) -> int:
        """What training leaves alone, and the running statistics."""
        return self.total - self.trainable


@dataclass(frozen=True, slots=True)
class Layer:
    """A row: one layer.

    Attributes:
        name: dotted, as `Model.get_submodule` and `freeze` take it.
        kind: its class, such as "Conv2d".
        shape: of what it hands on, without the batch: (height, width, channels) or (features,); () where it did not
            run in evaluation.
        counts: of its own values.
        block: that holds it; a layer without values between two blocks counts to the one before it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    counts: Counts
    block: str

    @property
    def parameters(self) -> int:
        """All its values, running statistics too."""
        return self.counts.total

    @property
    def trainable(self) -> bool:
        """Whether training changes any of its values."""
        return self.counts.trainable > 0


@dataclass(frozen=True, slots=True)
class Table:
    """The layers of a model from input to output, and what they add up to."""

    rows: tuple[Layer, ...]
    counts: Counts

    @property
    def total(self) -> int:
        """See Counts."""
        return self.counts.total

    @property
    def trainable(self) -> int:
        """See Counts."""
        return self.counts.trainable

    @property
    def non_trainable(self) -> int:
        """See Counts."""
        return self.counts.non_trainable

    def blocks(self) -> dict[str, tuple[Layer, ...]]:
        """Block -> its layers, from input to output."""
        found: dict[str, list[Layer]] = {}
        for row in self.rows:
            found.setdefault(row.block, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}


def count(module: nn.Module) -> Counts:
    """The values of a model, or of any part of one; a parameter that two layers share counts once."""
    parts = [part for part in module.modules() if not isinstance(part, Normalise)]
    parameters = {id(value): value for part in parts for value in part.parameters(recurse=False)}.values()
    statistics = sum(
        value.numel() for part in parts for name, value in part.named_buffers(recurse=False) if name in _STATISTICS
    )
    trainable = sum(value.numel() for value in parameters if value.requires_grad)
    return Counts(sum(value.numel() for value in parameters) + statistics, trainable)


def layer_table(model: Model) -> Table:
    """The table of a model, from one forward pass of an empty picture in evaluation mode.

    The pass runs on tensors without content, so that it costs no memory or time; only a model that looks into its
    values is run for real. It stays as it was.
    """
    known = _with_values(model)
    shapes = _shapes(model, known)
    blocks = {id(part): name for name, block in model.blocks().items() for part in block.modules()}
    rows, block = [], next(iter(model.blocks()))
    for name, layer in known.items():
        block = blocks.get(id(layer), block)
        own = count(layer) if not any(True for _ in layer.children()) else _own(layer)
        rows.append(Layer(name, type(layer).__name__, shapes.get(name, ()), own, block))
    return Table(tuple(rows), count(model))


def _with_values(model: Model) -> dict[str, nn.Module]:
    """The layers, and each larger part that holds parameters beside those of its layers."""
    leaves = layers(model)
    return {
        name: part
        for name, part in model.named_modules()
        if name in leaves or (name and any(True for _ in part.parameters(recurse=False)))
    }


def _own(part: nn.Module) -> Counts:
    values = list(part.parameters(recurse=False))
    return Counts(sum(value.numel() for value in values), sum(value.numel() for value in values if value.requires_grad))


def _shapes(model: Model, known: dict[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Layer -> shape of its first output."""
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def seen(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                shapes.setdefault(name, _outside(output))

        return layer.register_forward_hook(seen)

    modes = [(part, part.training) for part in model.modules()]
    hooks = [watch(name, layer) for name, layer in known.items()]
    empty = {name: value.detach().to("meta") for name, value in (*model.named_parameters(), *model.named_buffers())}
    pixels = torch.zeros(1, model.size, model.size, model.channels, dtype=torch.uint8, device="meta")
    try:
        with torch.no_grad():
            try:
                functional_call(model.eval(), empty, (pixels,))
            except RuntimeError:  # it asked for a value, and there was none
                if any(value.is_meta for value in model.parameters()):
                    raise
                shapes.clear()
                model(torch.zeros_like(pixels, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    return shapes


def _outside(output: Tensor) -> tuple[int, ...]:
    """A shape as it is written outside of models: channels last, without the batch."""
    shape = tuple(output.shape[1:])
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape

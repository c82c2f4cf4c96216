"""A .safetensors file of trained weights to the first weights of a model, with a report of what came from where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lightmeter.errors import WeightsError
from lightmeter.models import MODELS
from lightmeter.models.base import Model, Normalise

_COUNTER = "num_batches_tracked"  # of BatchNorm; used only with cumulative averages, which no model here has


@dataclass(frozen=True, slots=True)
class StartReport:
    """What became of a file of start weights.

    Attributes:
        identity: see `identity`.
        loaded: names of the model's tensors that the file set.
        missing: names that keep the model's own first values; at most the head and constants.
        unexpected: names in the file that the model has no place for.
        notes: sentences on what was changed on the way.
    """

    identity: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """For the user, in one line."""
        return " ".join([f"Started from {self.identity}: {len(self.loaded)} tensors loaded.", *self.notes])


def identity(path: Path) -> str:
    """What a recipe calls start weights: "<file name without suffix>@<first 16 digits of its sha256>".

    Raises:
        WeightsError: no such file, or not a .safetensors file.
    """
    _check(path)
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{path.stem}@{digest[:16]}"


def architecture_of(path: Path) -> str:
    """The name in `MODELS` whose parameters the file holds. Raises WeightsError where it is none."""
    names = set(shapes(path))
    found = []
    for architecture, builder in MODELS.items():
        with torch.device("meta"):  # names only: nothing is allocated or drawn
            needed = backbone(builder(2, channels=3, size=224))
        if needed <= names:
            found.append((len(needed), architecture))
    if not found:
        raise WeightsError(
            f"{path.name} holds the weights of no architecture known here.",
            "tensors named as in one of " + ", ".join(MODELS) + " (torchvision's names)",
        )
    return max(found)[1]  # the names of a ResNet-18 are among those of a ResNet-34


def load_start(model: Model, path: Path, *, sum_channels: bool = True) -> StartReport:
    """Set the weights of `model` from a .safetensors file, in place, and say what was and was not taken.

    Other floating-point types are converted. A head for another number of classes, or none, leaves the model's own.

    Args:
        model: its head may differ from the file's, its other tensors may not.
        path: of the file. No other format is read, as others can carry code.
        sum_channels: whether RGB filters may be summed over their channels for a model of grey pictures.

    Raises:
        WeightsError: not such a file, a tensor of another shape (it and both shapes are named), tensors that are
            lacking, or tensors of a larger network.
    """
    theirs, own, notes = shapes(path), model.state_dict(), []
    head = {name for name in own if name.startswith(f"{model.head_name}.")}
    fixed = constants(model)
    lacking = sorted(backbone(model) - set(theirs))
    if lacking:
        raise WeightsError(
            f"{path.name} lacks {len(lacking)} tensors of {type(model).__name__}: {some(lacking)}.",
            "weights of the same architecture, under torchvision's names",
        )
    unexpected = sorted(set(theirs) - set(own))
    parts = {name.partition(".")[0] for name in backbone(model)}
    larger = [name for name in unexpected if name.partition(".")[0] in parts]
    if larger:
        raise WeightsError(
            f"{path.name} holds {len(larger)} tensors that {type(model).__name__} has no place for: {some(larger)}.",
            "weights of the same architecture and depth",
        )
    if unexpected:
        notes.append(f"Left out, as the model has no such part: {some(unexpected)}.")

    wanted = (set(own) & set(theirs)) - head
    if all(name in theirs and theirs[name] == tuple(own[name].shape) for name in head):
        wanted |= head
    elif head & set(theirs):
        notes.append(_other_head(head, theirs, model))
    else:
        notes.append("It has no head: a fresh one was put in its place.")

    new: dict[str, Tensor] = {}
    converted = set()
    with safe_open(path, framework="pt") as file:
        for name in sorted(wanted):
            value = file.get_tensor(name)
            target = own[name]
            if value.is_floating_point() != target.is_floating_point():
                raise WeightsError(f"{path.name}: {name} holds {value.dtype}.", f"{target.dtype}")
            if not torch.isfinite(value).all():
                raise WeightsError(f"{path.name}: {name} holds a value that is not finite.", "finite weights")
            if value.shape != target.shape and sum_channels and _grey(value, target):
                if name in fixed:  # the mean and deviation of grey pixels, as those of their three equal channels
                    value = value.float().mean(dim=1, keepdim=True)
                else:
                    value = value.float().sum(dim=1, keepdim=True)
                    notes.append(f"{name} was summed over its three channels, for grey pictures.")
            if value.shape != target.shape:
                raise WeightsError(
                    f"{path.name}: {name} has the shape {tuple(value.shape)}.",
                    f"{tuple(target.shape)}, as in {type(model).__name__} with the options of this recipe",
                    "choose weights of the same width, stem and channels.",
                )
            if value.dtype != target.dtype and value.is_floating_point():
                converted.add(str(value.dtype).removeprefix("torch."))
            new[name] = value.to(target.dtype)
    if converted:
        notes.append(f"Converted from {', '.join(sorted(converted))}.")
    model.load_state_dict(new, strict=False)
    missing = tuple(sorted(set(own) - set(new)))
    return StartReport(identity(path), tuple(sorted(new)), missing, tuple(unexpected), tuple(notes))


def _other_head(head: set[str], shapes: dict[str, tuple[int, ...]], model: Model) -> str:
    last = [name for name in sorted(head) if name in shapes and len(shapes[name]) == 2]
    theirs = shapes[last[-1]][0] if last else 0
    what = (
        f"for {theirs} classes, not {model.num_classes}" if theirs not in (0, model.num_classes) else "of another shape"
    )
    return f"Its head is {what}: a fresh head was put in its place."


def _check(path: Path) -> None:
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path.name} is not a .safetensors file.",
            "a .safetensors file: other formats can carry code that runs when they are read",
            "convert it to safetensors where you trust its origin.",
        )
    if not path.is_file():
        raise WeightsError(f"There is no file {path}.", "an existing .safetensors file")


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes, from the header alone."""
    _check(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error}).", "a whole .safetensors file") from error


def constants(model: Model) -> set[str]:
    """Names of the pixel constants, which an unmodified published file does not hold."""
    prefixes = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, Normalise))
    return {name for name in model.state_dict() if name.startswith(prefixes)}


def backbone(model: Model) -> set[str]:
    """Names that a file must hold: all but the head, pixel constants and counters."""
    free = constants(model)
    return {
        name
        for name in model.state_dict()
        if not name.startswith(f"{model.head_name}.") and name not in free and not name.endswith(_COUNTER)
    }


def _grey(value: Tensor, target: Tensor) -> bool:
    """Whether `value` is for three channels what `target` is for one."""
    return (
        value.ndim == target.ndim == 4
        and (value.shape[1], target.shape[1]) == (3, 1)
        and value.shape[0] == target.shape[0]
        and value.shape[2:] == target.shape[2:]
    )


def some(names: Iterable[str]) -> str:
    """The first four of them, for a message."""
    listed = list(names)
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")

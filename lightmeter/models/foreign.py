"""Weights as others write them to the tensors of a model here: names, shapes and pixel constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lightmeter.errors import WeightsError
from lightmeter.models import MODELS, build_model
from lightmeter.models.base import Model, Normalise
from lightmeter.models.pretrained import architecture_of, backbone, constants, shapes, some
from lightmeter.models.timm_model import PREFIX, timm_heads
from lightmeter.nouns.recipe import ModelChoice

_NESTED = ("state_dict", "model_state_dict", "model")
_WIDTHS = (1.0, 1.4, 1.3, 0.75, 0.5, 0.35)  # that MobileNetV2 was published with
_VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "inception_v3": ({}, {"scale": False}),
    "resnet18": ({"stem": "imagenet"}, {"stem": "small"}),
    "resnet34": ({"stem": "imagenet"}, {"stem": "small"}),
    "resnet50": ({"stem": "imagenet"}, {"stem": "small"}),
}
"""Options that change names or shapes, the most likely first."""
_SIZE = 224  # any that every architecture takes: no shape of a backbone depends on it


@dataclass(frozen=True, slots=True)
class Foreign:
    """Weights of others, as one of our models takes them.

    Attributes:
        model: the architecture, with its width and options.
        tensors: by our names, float32 (counters int64): the whole backbone, the pixel constants, and the head where
            it came along.
        notes: sentences on what was changed or left out.
    """

    model: ModelChoice
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def blank(choice: ModelChoice, num_classes: int = 2) -> Model:
    """The model without memory for its parameters: names, shapes and structure only."""
    with torch.device("meta"):
        return build_model(choice, num_classes, 3, _SIZE)


def recognise(found: Mapping[str, tuple[int, ...]], *, only: str = "") -> ModelChoice | None:
    """The architecture, width and options whose backbone is named and shaped like that; the largest of several.

    Args:
        found: shapes of the tensors in a file, by name.
        only: an architecture to look at alone.
    """
    fitting: list[tuple[int, ModelChoice]] = []
    for name in [only] if only else MODELS:
        for options in _VARIANTS.get(name, ({},)):
            if not backbone(blank(ModelChoice(name=name, options=options))) <= set(found):
                continue
            for width in _WIDTHS:
                choice = ModelChoice(name=name, width=width, options=options)
                own = {key: tuple(value.shape) for key, value in blank(choice).state_dict().items()}
                names = backbone(blank(choice))
                if all(found[key][:1] + found[key][2:] == own[key][:1] + own[key][2:] for key in names):
                    fitting.append((len(names), choice))
                    break
    return max(fitting, key=lambda one: one[0])[1] if fitting else None


def choice_of(path: Path) -> ModelChoice:
    """The architecture that reads a .safetensors file which does not say it itself. Raises WeightsError."""
    return recognise(shapes(path)) or ModelChoice(name=architecture_of(path))


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch file, by name; nothing in it is run.

    A dictionary inside ("state_dict", "model_state_dict", "model") and the prefix "module." of a parallel model are
    taken off.

    Raises:
        WeightsError: a file that needs more than tensors and plain containers, or holds no tensors.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a reader of unknown bytes raises, the file is to blame
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"{path.name} cannot be read without running code that it may carry ({reason}).",
            "a state dict: names and tensors, as torchvision publishes",
            "where you trust it, load it yourself and save model.state_dict() as a .safetensors file.",
        ) from error
    for name in _NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
            break
    tensors = {
        str(name): value for name, value in (found.items() if isinstance(found, Mapping) else ()) if _plain(value)
    }
    if not tensors:
        raise WeightsError(f"{path.name} holds no tensors by name.", "a state dict, as torchvision publishes")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name. Raises WeightsError."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} cannot be read ({error}).", "a whole .safetensors file") from error


def translate(found: dict[str, Tensor], choice: ModelChoice | None, *, origin: str) -> Foreign:
    """A state dict under torchvision's or timm's names to ours.

    Args:
        found: tensors by name.
        choice: the architecture; None recognises it.
        origin: what to call the file in errors.

    Raises:
        WeightsError: an architecture that is not known here, or another one than `choice`.
    """
    if choice is not None and choice.name.startswith(PREFIX) and not any(name.startswith("body.") for name in found):
        heads = timm_heads(blank(choice))
        found = {_under_body(name, heads): value for name, value in found.items()}
    if choice is None:
        choice = recognise({name: tuple(value.shape) for name, value in found.items()})
    if choice is None:
        raise WeightsError(
            f"{origin} holds the weights of no architecture known here.",
            "tensors named as torchvision names those of " + ", ".join(MODELS),
            "name the architecture with --model; of others, timm:NAME where timm is installed.",
        )
    return fit(found, choice, origin=origin)


def fit(found: dict[str, Tensor], choice: ModelChoice, *, origin: str) -> Foreign:
    """Check tensors under our names against the model, and add its pixel constants where they are not among them.

    Raises:
        WeightsError: tensors that are lacking, of another shape or not finite; each is named.
    """
    model = blank(choice)
    lasts = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and _in_head(name, model)]
    if lasts:  # a lone linear layer goes by the head's own name where it was published
        last = lasts[-1]
        found = {_renamed(name, model.head_name, last): value for name, value in found.items()}
        weight = found.get(f"{last}.weight")
        if weight is not None and weight.ndim == 2 and len(weight) > 1:
            model = blank(choice, num_classes=len(weight))
    own = model.state_dict()
    needed = backbone(model)
    lacking = sorted(needed - set(found))
    if lacking:
        raise WeightsError(
            f"{origin} lacks {len(lacking)} tensors of {choice.name}: {some(lacking)}.",
            f"all {len(needed)} of its backbone",
            "see `lightmeter weights list` for what can be imported; name another architecture with --model.",
        )
    head = {name for name in own if _in_head(name, model)}
    whole = all(name in found and found[name].shape == own[name].shape for name in head)
    wanted = {name for name in found if name in own and (name not in head or whole)}
    left = sorted(name for name in found if name not in wanted)
    parts = {name.partition(".")[0] for name in needed}
    larger = [name for name in left if name.partition(".")[0] in parts and name not in head]
    if larger:
        raise WeightsError(
            f"{origin} holds {len(larger)} tensors that {choice.name} has no place for: {some(larger)}.",
            "weights of the same architecture and depth",
        )
    notes = [f"Left out, as the model has no such part: {some(left)}."] if left else []
    tensors = _pixel_constants(choice)
    for name in sorted(wanted):
        value = found[name]
        if value.shape != own[name].shape:
            raise WeightsError(
                f"{origin}: {name} has the shape {tuple(value.shape)}.",
                f"{tuple(own[name].shape)}, as in {choice.name} of width {choice.width:g}",
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"{origin}: {name} holds a value that is not finite.", "finite weights")
        # Its own memory: safetensors refuses tensors that share some.
        tensors[name] = value.detach().to("cpu", own[name].dtype, copy=True).contiguous()
    return Foreign(choice, tensors, tuple(notes))


def normaliser(model: Model) -> str:
    """Dotted name of the layer that holds the pixel constants."""
    names: list[str] = [name for name, layer in model.named_modules() if isinstance(layer, Normalise)]
    return names[0]


def _pixel_constants(choice: ModelChoice) -> dict[str, Tensor]:
    """The model's own, which its published weights were trained with; written down, so that no default can change."""
    narrow = choice if choice.name.startswith(PREFIX) else choice.model_copy(update={"width": 0.125})
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
        model = build_model(narrow, 2, 3, _SIZE)
    state = model.state_dict()
    return {name: state[name].clone() for name in constants(model)}


def _under_body(name: str, heads: tuple[str, ...]) -> str:
    """What timm calls so, behind our contract: its own head is ours, all else lies in `body`."""
    for head in heads:
        if name.startswith(f"{head}."):
            return f"head{name.removeprefix(head)}"
    return f"body.{name}"


def _renamed(name: str, head: str, last: str) -> str:
    for part in ("weight", "bias"):
        if name == f"{head}.{part}":
            return f"{last}.{part}"
    return name


def _in_head(name: str, model: Model) -> bool:
    return name == model.head_name or name.startswith(f"{model.head_name}.")


def _plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized

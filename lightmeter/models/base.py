"""The contract of every model: raw pixels to logits, a head that comes off, and named blocks in order of depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightmeter.errors import RecipeError
from lightmeter.models.dropout import Dropout

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Per channel (RGB), of pixels divided by 255: what published ImageNet weights were trained with."""


class Normalise(nn.Module):
    """Pixels in 0..255, channels last, to normalised float32 planes.

    `uint8|float[N, S, S, C]` -> `float32[N, C, S, S]` in channels-last memory format, which the permutation gives
    for free. Mean and deviation are constants that travel with the weights; training never changes them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """`mean` and `std` per channel, of pixels divided by 255."""
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    @staticmethod
    def imagenet(channels: int) -> Normalise:
        """ImageNet's constants; for one channel those of its grey pictures, as the mean over the three."""
        if channels == 3:
            return Normalise(IMAGENET_MEAN, IMAGENET_STD)
        return Normalise((sum(IMAGENET_MEAN) / 3,), (sum(IMAGENET_STD) / 3,))

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        return (planes - self.mean) / self.std


class Model(nn.Module):
    """An image classifier. Abstract: an architecture sets `features` and its head, and says its blocks.

    Attributes:
        num_classes: K, the width of the logits.
        channels: of the pictures, 1 or 3.
        size: side of the pictures it was built for.
        minimum_size: smallest side that makes sense for the architecture.
        head_name: dotted name of the head among the submodules, as published.
        head: F -> K: a linear layer, or several modules of which the last is one.
        features: `uint8|float[N, S, S, C]` in 0..255 -> `Tensor[N, F]`, what the head reads. A method, or a
            submodule where the published parameter names ask for one.
    """

    minimum_size: ClassVar[int] = 8
    head_name: ClassVar[str] = "head"

    head: nn.Module
    features: Callable[[Tensor], Tensor]

    def __init__(self, num_classes: int, *, channels: int, size: int) -> None:
        """Check the numbers that every architecture shares. Raises RecipeError."""
        super().__init__()
        name = type(self).__name__
        if size < self.minimum_size:
            raise RecipeError(
                f"{name} cannot work on pictures of {size} pixels.",
                f"a side of at least {self.minimum_size} pixels",
                f"take {self.minimum_size} or more (--set preprocess.size, or --size of inspect), or another model.",
            )
        if channels not in (1, 3):
            raise RecipeError(f"{name} was asked for {channels} channels.", "1 (grey) or 3 (RGB)")
        if num_classes < 2:
            raise RecipeError(f"{name} was asked to tell {num_classes} class apart.", "at least 2 classes")
        self.num_classes, self.channels, self.size = num_classes, channels, size

    def forward(self, pixels: Tensor) -> Tensor:
        """`uint8|float[N, S, S, C]` in 0..255 -> logits `float32[N, K]`, float32 under autocast too."""
        logits: Tensor = self.head(self.features(pixels))
        return logits.to(torch.float32)

    def maps(self, pixels: Tensor) -> Tensor | None:
        """The last maps float[N, F, H, W], where `features` is their mean over places; None where it is not."""
        return None

    def blocks(self) -> dict[str, nn.Module]:
        """Named parts from input to output that hold each parameter exactly once; the last is "head"."""
        raise NotImplementedError

    def prepare(self, pixels: Tensor) -> None:
        """Set what depends on the data, from `uint8[N, S, S, C]`, once before training from scratch: by default none.

        It may not use the global random generator.
        """


def block_of(model: Model, parameter_name: str) -> str:
    """Name of the block that holds a parameter of `model.named_parameters()`."""
    parameter = model.get_parameter(parameter_name)
    for name, block in model.blocks().items():
        if any(parameter is other for other in block.parameters()):
            return name
    raise AssertionError(f"{parameter_name} lies in no block of {type(model).__name__}")


def map_weights(model: Model) -> str:
    """Name of the tensor float[K, F] that turns `Model.maps` into maps of the classes; "" where there is none.

    That is so where the head is one linear layer on the mean of the maps: then a class's logit is the mean of its map
    (Zhou et al., "Learning deep features for discriminative localization", 2016).
    """
    parts = dict(model.head.named_modules())
    linear = [name for name, part in parts.items() if isinstance(part, nn.Linear)]
    others = [part for part in parts.values() if not isinstance(part, nn.Linear | nn.Dropout | nn.Identity)]
    plain = all(isinstance(part, nn.Sequential) for part in others)
    if type(model).maps is Model.maps or len(linear) != 1 or not plain:
        return ""
    return ".".join(name for name in (model.head_name, linear[0], "weight") if name)


def mlp_head(inputs: int, num_classes: int, *, hidden: int = 0, dropout: float = 0.0) -> nn.Sequential:
    """Features [N, F] to logits: dropout and a linear layer, behind a hidden ReLU layer where `hidden` is not 0."""
    first: list[nn.Module] = [nn.Linear(inputs, hidden), nn.ReLU()] if hidden else []
    last = nn.Linear(hidden or inputs, num_classes)
    nn.init.normal_(last.weight, 0.0, 0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*first, Dropout(dropout), last)


def layers(model: Model) -> dict[str, nn.Module]:
    """Dotted name -> layer, from input to output: each module without parts of its own, but for the normalisation."""
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, Normalise | nn.Identity) and not any(True for _ in module.children()):
            found[name] = module
    return found


def frozen_layers(model: Model, freeze: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the layers that a recipe's `freeze` keeps from being trained, from input to output.

    Args:
        model: whose `layers` are meant.
        freeze: each entry a block, a layer, "all" (every layer but the head's), "batchnorm" (each layer of that kind),
            "N" (the first N layers) or "-N" (all but the last N), as a slice of a list; together they freeze what any
            of them does.

    Raises:
        RecipeError: a name that is no block or layer, an N larger than the number of layers, or nothing left to train.
    """
    known, blocks = layers(model), model.blocks()
    names, inside = list(known), {name: {id(part) for part in block.modules()} for name, block in blocks.items()}
    wanted: set[str] = set()
    for entry in freeze:
        if entry == "all":
            wanted |= {name for name in names if id(known[name]) not in inside["head"]}
        elif entry.lstrip("-").isdigit():
            if abs(int(entry)) > len(names):
                raise RecipeError(
                    f"--freeze {entry}: {type(model).__name__} has {len(names)} layers.",
                    f"a number from -{len(names)} to {len(names)}, a block among {', '.join(blocks)}, or all",
                    "`lightmeter inspect MODEL` lists its layers.",
                )
            wanted |= set(names[: int(entry)])
        elif entry == "batchnorm":
            wanted |= {name for name in names if isinstance(known[name], nn.modules.batchnorm._BatchNorm)}
        elif entry in blocks:
            wanted |= {name for name in names if id(known[name]) in inside[entry]}
        elif entry in known:
            wanted.add(entry)
        else:
            raise RecipeError(
                f"{type(model).__name__} has no block or layer {entry!r} to freeze.",
                f'blocks among {", ".join(blocks)}; "all" for all but the head; or a number of layers',
                "`lightmeter inspect MODEL` lists its layers.",
            )
    trained = [known[name] for name in names if name not in wanted]
    if not any(parameter.requires_grad for layer in trained for parameter in layer.parameters()):
        raise RecipeError(
            f"Freezing {', '.join(freeze)} leaves nothing to train.",
            "at least one layer with parameters that is trained",
            'freeze "all" to train the head alone.',
        )
    return tuple(name for name in names if name in wanted)


def freeze(model: Model, names: tuple[str, ...]) -> tuple[str, ...]:
    """Stop gradients to the parameters of the layers that `names` freezes, and say which those are.

    The mode of BatchNorm layers in them is the training loop's to set: `model.train()` would undo it here.
    """
    frozen = frozen_layers(model, names)
    for name in frozen:
        model.get_submodule(name).requires_grad_(False)
    return frozen

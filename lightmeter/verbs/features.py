"""Features of a frozen backbone, computed once for all images and kept in the cache."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightmeter.models.base import Model
from lightmeter.nouns.files import write_atomic
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.extract import architecture, extractor, handed_over

View = Callable[[NDArray[np.int64], Tensor], Tensor]
"""Positions int64[B] among the rows and their pixels uint8[B, S, S, C] -> those pixels under a fixed view."""


def plain(_: NDArray[np.int64], pixels: Tensor) -> Tensor:
    """The pictures as they are."""
    return pixels


def mirrored(_: NDArray[np.int64], pixels: Tensor) -> Tensor:
    """Their mirror images."""
    return pixels.flip(2)


def features(
    model: Model,
    pack: Pack,
    rows: NDArray[np.int64],
    execution: Execution,
    views: Mapping[str, View],
    *,
    start: str,
    cache: Path,
    progress: Progress = SILENT,
) -> Tensor:
    """What the model's head would read, float32[V, N, F], for N of the pack's rows under V fixed views.

    Args:
        views: by names that say all that decides them, as those are part of the cache's key.
        start: the identity of the backbone's weights, another part of it.
        cache: folder for the result; a second call reads it.
    """
    what = [pack.path.name, start, architecture(model), str(execution.document()), *views]
    identity = "|".join([*what, hashlib.sha256(rows.tobytes()).hexdigest()])
    path = cache / "features" / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npy"
    if path.exists():
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (ValueError, OSError):  # damaged: computed again below
            path.unlink(missing_ok=True)
    found: list[list[Tensor]] = [[] for _ in views]
    few = torch.from_numpy(pack.some(rows[:4]))
    with (
        extractor(model, execution, few, cache=cache) as extract,
        progress.track("features", len(rows), "images") as advance,
    ):
        done = 0
        for canvases in pack.in_turn(rows, handed_over(execution)):
            some = np.arange(done, done + len(canvases))
            done += len(canvases)
            pixels = torch.from_numpy(canvases).to(execution.device)
            for batches, view in zip(found, views.values(), strict=True):
                batches.append(extract(view(some, pixels)))
            advance(len(some))
    result = torch.stack([torch.cat(batches) for batches in found])
    buffer = io.BytesIO()
    np.save(buffer, result.numpy(), allow_pickle=False)
    write_atomic(path, buffer.getvalue())
    return result


def standardise(train: Tensor, head: nn.Module) -> tuple[Tensor, Tensor]:
    """Mean and deviation float32[F] over views and items of [V, N, F]; a constant feature keeps deviation 1.

    A head without a bias cannot take up the mean, which is then 0.
    """
    flat = train.flatten(0, 1)
    deviation, mean = flat.std(dim=0), flat.mean(dim=0)
    if first_linear(head).bias is None:
        mean = torch.zeros_like(mean)
    return mean, torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))


@torch.no_grad()
def fold(head: nn.Module, mean: Tensor, deviation: Tensor) -> None:
    """Turn a head that reads standardised features into one that reads plain features, in place."""
    first = first_linear(head)
    first.weight.div_(deviation)
    if first.bias is not None:
        first.bias.sub_(first.weight @ mean)


def first_linear(head: nn.Module) -> nn.Linear:
    """The layer of a head that reads the features."""
    return next(layer for layer in head.modules() if isinstance(layer, nn.Linear))

"""Where training takes its batches from: canvases augmented on the fly, or features that were computed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightmeter.augment import Augment, BatchContext
from lightmeter.augment.counter import seed_of
from lightmeter.nouns.pack import Pack
from lightmeter.optim.losses import soft_targets


class Batches(Protocol):
    """What the training loop needs to know of the data."""

    @property
    def n(self) -> int:
        """Training items."""
        ...

    @property
    def val_ids(self) -> tuple[str, ...]:
        """Ids of the validation split, in the order in which `val` yields inputs."""
        ...

    @property
    def val_labels(self) -> NDArray[np.int64]:
        """Their labels, int64[V]."""
        ...

    def train(self, chosen: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Positions int64[B] among the training items -> inputs and soft targets float32[B, K]."""
        ...

    def soon(self, chosen: Tensor) -> None:
        """Positions int64[B] that `train` will be asked for some steps later: what is on disk can be read meanwhile."""
        ...

    def val(self, batch_size: int) -> Iterator[Tensor]:
        """Inputs of the validation split, in order."""
        ...

    def sample(self, batch_size: int) -> Iterator[Tensor]:
        """Inputs of some training items, spread evenly and without augmentation."""
        ...


_SAMPLED = 2048  # training items from which BatchNorm statistics are taken anew


@dataclass(frozen=True, eq=False)
class PixelBatches:
    """Canvases from a Pack, augmented in batches on the device."""

    pack: Pack
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]
    val_ids: tuple[str, ...]
    num_classes: int
    augment: Augment
    label_smoothing: float
    seed: int
    device: str

    @property
    def n(self) -> int:
        """Training images."""
        return len(self.train_rows)

    @property
    def val_labels(self) -> NDArray[np.int64]:
        """int64[V]."""
        return self.pack.labels[self.val_rows]

    def train(self, chosen: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """See `Batches`."""
        rows = self.train_rows[chosen.numpy()]
        pixels: Tensor | list[NDArray[np.uint8]]
        if self.device == "cpu" and self.augment.singly:
            pixels = self.pack.each(rows)
        else:
            pixels = torch.from_numpy(self.pack.some(rows)).to(self.device)
        labels = torch.from_numpy(self.pack.labels[rows]).to(self.device)
        targets = soft_targets(labels, self.num_classes, self.label_smoothing)
        context = BatchContext(torch.from_numpy(rows), epoch, step, self.num_classes)
        return self.augment(pixels, targets, context, self.seed)

    def soon(self, chosen: Tensor) -> None:
        """See `Batches`."""
        self.pack.soon(self.train_rows[chosen.numpy()])

    def val(self, batch_size: int) -> Iterator[Tensor]:
        """See `Batches`."""
        for pixels in self.pack.in_turn(self.val_rows, batch_size):
            yield torch.from_numpy(pixels).to(self.device)

    def sample(self, batch_size: int) -> Iterator[Tensor]:
        """See `Batches`."""
        some = self.train_rows[:: max(1, len(self.train_rows) // _SAMPLED)]
        mixed = some[np.argsort(some * 2654435761 % 2**32, kind="stable")]  # rows of one class often lie together
        for pixels in self.pack.in_turn(mixed, batch_size):
            yield torch.from_numpy(pixels).to(self.device)


@dataclass(frozen=True, eq=False)
class FeatureBatches:
    """Standardised features float32[views, N, F] under a few fixed views; each epoch draws one view per item."""

    features: Tensor
    labels: Tensor
    val_features: Tensor
    val_labels: NDArray[np.int64]
    val_ids: tuple[str, ...]
    num_classes: int
    label_smoothing: float
    seed: int

    @property
    def n(self) -> int:
        """Training items."""
        return self.features.shape[1]

    def train(self, chosen: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """See `Batches`."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, epoch, step, 0))
        device = self.features.device
        view = torch.randint(len(self.features), (len(chosen),), generator=generator).to(device)
        chosen = chosen.to(device)
        return self.features[view, chosen], soft_targets(self.labels[chosen], self.num_classes, self.label_smoothing)

    def soon(self, chosen: Tensor) -> None:
        """They are in memory."""

    def val(self, batch_size: int) -> Iterator[Tensor]:
        """See `Batches`."""
        yield from self.val_features.split(batch_size)

    def sample(self, batch_size: int) -> Iterator[Tensor]:
        """See `Batches`."""
        yield from self.features[0, :: max(1, self.n // _SAMPLED)].split(batch_size)

"""The State of a training: the one mutable thing. Saving it is resuming."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from lightmeter.errors import FormatError
from lightmeter.nouns.files import atomic_folder, read_json, write_atomic, write_json
from lightmeter.optim.ema import EMA

FORMAT = 1


@dataclass
class Counters:
    """Everything in a State that is a number.

    Attributes:
        step: optimizer steps taken.
        epoch: epochs completed.
        position: rows of the present epoch's order that were used.
        progress: share of the schedule that is done, 0..1.
        remaining: images still to be trained on; with `progress` it fixes every learning rate to come.
        micro_batch: images per forward pass.
        stopped: what ends training: "schedule", "budget" (it was fitted to the time left) or "patience".
        loss_sum, correct, images: sums over the present epoch.
        waited, computed: seconds of the present epoch spent on input and on the network.
        best_epoch, best_accuracy, best_loss: of the best weights by validation.
    """

    remaining: float
    micro_batch: int
    step: int = 0
    epoch: int = 0
    position: int = 0
    progress: float = 0.0
    stopped: str = "schedule"
    loss_sum: float = 0.0
    correct: float = 0.0
    images: int = 0
    waited: float = 0.0
    computed: float = 0.0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_loss: float = float("inf")


@dataclass
class State:
    """A module under training with all that its next step depends on.

    Attributes:
        module: what is trained: a Model, or only its head where features are computed once.
        optimizers: of the recipe; learning rates follow from `counters.progress`.
        ema: averaged weights, or None.
        counters: the numbers.
        best: the best weights by validation so far, empty before the first epoch ends.
    """

    module: nn.Module
    optimizers: tuple[torch.optim.Optimizer, ...]
    ema: EMA | None
    counters: Counters
    best: dict[str, Tensor] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the State into `folder`, atomically: a kill leaves the old one or the new one."""
        tensors = {f"module.{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.state_dict().items()}
        scalars: dict[str, float] = {}
        for number, optimizer in enumerate(self.optimizers):
            for index, entry in optimizer.state_dict()["state"].items():
                for name, value in entry.items():
                    key = f"optimizer.{number}.{index}.{name}"
                    if isinstance(value, Tensor):
                        tensors[key] = value
                    elif value is not None:
                        scalars[key] = value
        counters: dict[str, Any] = asdict(self.counters)
        if self.counters.best_loss == float("inf"):
            counters["best_loss"] = None  # JSON has no infinity
        # Contiguous and cloned: safetensors refuses views that share memory. As bytes: its own writing of a file
        # reports a full disk in a way that cannot be told from damage.
        plain = {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
        with atomic_folder(folder) as fresh:
            write_atomic(fresh / "tensors.safetensors", save(plain))
            write_json(fresh / "state.json", {"format": FORMAT, "counters": counters, "scalars": scalars})

    def load(self, folder: Path) -> None:
        """Put what `save` wrote into this State, in place. Raises FormatError where it is another model's."""
        document = read_json(folder / "state.json", kind="training state", newest=FORMAT)
        tensors = load_file(folder / "tensors.safetensors")

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        try:
            self.module.load_state_dict(part("module."))
            if self.ema is not None:
                self.ema.load_state_dict(part("ema."))
        except (RuntimeError, KeyError) as error:
            raise FormatError(
                f"{folder} holds the state of another model ({error}).",
                "the state of the run's own recipe",
                "start anew with another --out.",
            ) from error
        self.best = part("best.")
        for number, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Any]] = {}
            prefix = f"optimizer.{number}."
            for key, value in [*part(prefix).items(), *_scalars(document["scalars"], prefix)]:
                index, _, name = key.partition(".")
                entries.setdefault(int(index), {})[name] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
        counters = document["counters"]
        if counters["best_loss"] is None:
            counters["best_loss"] = float("inf")
        self.counters = Counters(**counters)


def _scalars(scalars: dict[str, float], prefix: str) -> list[tuple[str, Any]]:
    return [(key.removeprefix(prefix), value) for key, value in scalars.items() if key.startswith(prefix)]

"""What the tests of features share: a small network, pictures for it, and a Progress that listens."""

from __future__ import annotations

import torch
from torch import Tensor

from lightmeter.models import MODELS
from lightmeter.models.base import Model
from lightmeter.nouns.progress import Progress
from lightmeter.verbs.execution import Execution

GRAPH = Execution("cpu", "float32", "contiguous", 4, 1, "onnxruntime")


def model(name: str = "mobilenet_v2") -> Model:
    torch.manual_seed(0)
    return MODELS[name](4, channels=3, size=32, width=0.25).eval()


def pixels(n: int) -> Tensor:
    return torch.randint(0, 256, (n, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

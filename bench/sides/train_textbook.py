"""Images per second of the textbook's training loop: `train_textbook.py NETWORK BATCH SECONDS`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from protocol import answer, images_per_second, peak_mib
from samples import cifar
from textbook import NETWORKS, Pictures, loader
from torch import Tensor, nn


def main() -> None:
    """Get ready, then measure when told."""
    network, batch, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    torch.manual_seed(0)
    pixels, labels = cifar()
    model = NETWORKS[network](10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    loss = nn.CrossEntropyLoss()
    data = loader(Pictures(pixels, labels, augment=True), batch, train=True)

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from data

    batches = endless()

    def step() -> int:
        inputs, targets = next(batches)
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()
        return len(targets)

    def measure() -> dict[str, Any]:
        rate = images_per_second(step, seconds)
        peak = peak_mib()
        return {"value": rate, "peak_mib": peak}

    step()
    answer(measure, torch=torch.__version__, parameters=sum(p.numel() for p in model.parameters()))


if __name__ == "__main__":
    main()

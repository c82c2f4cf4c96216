"""The textbook's answer to a deadline: ResNet-18, SGD and OneCycle, its epochs fitted to the time that is left.

`onecycle_textbook.py SECONDS SEED IMAGES TESTED` trains on so many pictures of CIFAR-10 for so many seconds, from its
imports on and test included, and says its test accuracy. The speed is taken from its first steps.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from samples import cifar, cifar_test
from textbook import NETWORKS, Pictures, loader
from torch import nn

BEGAN = time.monotonic()
BATCH, PEAK, WARM = 128, 0.1, 6


def main() -> None:
    """Train, test, answer."""
    seconds, (seed, images, tested) = float(sys.argv[1]), map(int, sys.argv[2:])
    torch.manual_seed(seed)
    model = NETWORKS["resnet18"](10)
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, momentum=0.9, weight_decay=5e-4, nesterov=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    train, test = (
        loader(Pictures(*cifar(images), augment=True), BATCH, train=True),
        Pictures(*cifar_test(tested), augment=False),
    )

    def step(inputs: torch.Tensor, targets: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()

    times = []
    for number, (inputs, targets) in enumerate(train):
        started = time.monotonic()
        step(inputs, targets)
        times.append(time.monotonic() - started)
        if number == WARM:
            break
    each = sorted(times)[len(times) // 2]
    testing = 0.4 * each / BATCH * len(test)  # a forward pass costs a third of a step; some for its loader
    steps = max(2, int((seconds - (time.monotonic() - BEGAN) - testing - 1) / (1.1 * each)))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=PEAK, total_steps=steps)
    done = 0
    while done < steps:
        for inputs, targets in train:
            step(inputs, targets)
            schedule.step()
            done += 1
            if done == steps or time.monotonic() - BEGAN > seconds - testing:
                done = steps
                break
    model.eval()
    right = 0
    with torch.no_grad():
        for inputs, targets in loader(test, 500, train=False):
            right += int((model(inputs).argmax(1) == targets).sum())
    wall = time.monotonic() - BEGAN
    sys.stdout.write(json.dumps({"accuracy": right / len(test), "n": len(test), "seconds": wall}) + "\n")


if __name__ == "__main__":
    main()

"""The textbook way, in plain PyTorch: Dataset, DataLoader with two workers, pictures one at a time, NCHW, float32."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Pictures(Dataset[tuple[Tensor, int]]):
    """uint8[N, S, S, 3] with labels; mirrored and shifted by up to four pixels one by one, if asked."""

    def __init__(self, pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], *, augment: bool) -> None:
        self.pixels, self.labels, self.augment = pixels, labels, augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        picture = Image.fromarray(self.pixels[index])
        if self.augment:
            side = picture.width
            left, top = random.randint(0, 8), random.randint(0, 8)
            picture = ImageOps.expand(picture, 4).crop((left, top, left + side, top + side))
            if random.random() < 0.5:
                picture = ImageOps.mirror(picture)
        plane = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        return (plane - MEAN) / DEVIATION, int(self.labels[index])


def loader(data: Pictures, batch: int, *, train: bool) -> DataLoader[tuple[Tensor, int]]:
    """As tutorials make it."""
    return DataLoader(data, batch, shuffle=train, num_workers=2, drop_last=train, persistent_workers=True)


def vgg3(classes: int) -> nn.Module:
    """Three VGG blocks of 32, 64 and 128 filters with BatchNorm after each ReLU, and two dense layers."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in (32, 64, 128):
        for first in (inputs, outputs):
            layers += [nn.Conv2d(first, outputs, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(outputs)]
        layers.append(nn.MaxPool2d(2))
        inputs = outputs
    head = [nn.Flatten(), nn.Linear(128 * 16, 128), nn.ReLU(), nn.BatchNorm1d(128), nn.Linear(128, classes)]
    return nn.Sequential(*layers, *head)


class _Basic(nn.Module):
    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != planes:
            self.short = nn.Sequential(nn.Conv2d(inputs, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.short(x))


def resnet18(classes: int) -> nn.Module:
    """ResNet-18 for pictures of 32 pixels: a 3x3 stem without pooling."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    inputs = 64
    for planes, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [_Basic(inputs, planes, stride), _Basic(planes, planes, 1)]
        inputs = planes
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


NETWORKS = {"vgg3": vgg3, "resnet18": resnet18}

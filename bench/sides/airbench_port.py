"""A plain port of airbench94_muon to a processor, its schedule fitted to the time that is left.

`airbench_port.py SECONDS SEED IMAGES TESTED` trains on so many pictures of CIFAR-10 for so many seconds, from its
imports on and test included, and says its test accuracy with test views. In bfloat16 where that is faster than float32
here; batches of 1,000. Six views where they take a tenth of the seconds or less, else a picture and its mirror image.

Source: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, and the published description of its
successor with Muon: frozen whitening of 2x2 patches, three stages of 64, 256 and 256 filters, Newton-Schulz steps of
three rounds for the filters, SGD for biases and head, smoothing of 0.2, mirroring that alternates, shifts by 2.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from samples import cifar, cifar_test
from torch import Tensor, nn

BEGAN = time.monotonic()
BATCH, EPOCHS, WARM, TRIED = 1000, 8.0, 2, 100
BIAS_LR, HEAD_LR, MUON_LR = 0.053, 0.67, 0.24  # for a loss summed over 2,000 pictures
DECAY, SUMMED = 2e-6, 2000
MEAN, DEVIATION = (125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)


class _Stage(nn.Module):
    """conv, pool, norm, GELU, conv, norm, GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, outputs, 3, padding="same", bias=False) for before in (inputs, outputs)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs, eps=1e-12, momentum=0.4) for _ in range(2))
        for norm in self.norms:
            norm.weight.requires_grad_(False)
        for conv in self.convs:
            nn.init.dirac_(conv.weight.data[: conv.weight.shape[1]])  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norms[0](F.max_pool2d(self.convs[0](x), 2)))
        return F.gelu(self.norms[1](self.convs[1](x)))


class _Network(nn.Module):
    """Whitening, three stages, a maximum and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.stages = nn.Sequential(_Stage(24, 64), _Stage(64, 256), _Stage(256, 256))
        self.head = nn.Linear(256, 10, bias=False)
        self.head.weight.data.mul_(1 / self.head.weight.data.std())
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stages(F.gelu(self.whiten(x))), 3).flatten(1)
        logits: Tensor = self.head(x) / x.shape[1]
        return logits

    def learn_whitening(self, pictures: Tensor) -> None:
        """The filters from the covariance of patches of pictures float[N, 3, 32, 32]."""
        patches = F.unfold(pictures, 2).transpose(1, 2).flatten(0, 1)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (variances + 5e-4).sqrt()).T.flip(0).reshape(12, 3, 2, 2)
        self.whiten.weight.data.copy_(torch.cat([filters, -filters]))


class _Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal; each filter bank keeps its norm."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.mul_(0.6).add_(parameter.grad)
                slope = parameter.grad.add(buffer, alpha=0.6)
                parameter.mul_(len(parameter) ** 0.5 / parameter.norm())
                parameter.add_(orthogonal(slope.reshape(len(slope), -1)).view(slope.shape), alpha=-group["lr"])


def orthogonal(matrix: Tensor) -> Tensor:
    """About U V^T of its singular value decomposition, by three Newton-Schulz rounds."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(3):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x.T if tall else x


def main() -> None:
    """Train, test, answer."""
    seconds, (seed, images, tested) = float(sys.argv[1]), map(int, sys.argv[2:])
    torch.manual_seed(seed)
    pixels, labels = (torch.from_numpy(array) for array in cifar(images))
    test_pixels, test_labels = (torch.from_numpy(array) for array in cifar_test(tested))
    model = _Network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.learn_whitening(normalised(pixels[:5000]))
    biases = [p for name, p in model.named_parameters() if p.requires_grad and name.endswith("bias")]
    biases = [p for p in biases if p is not model.whiten.bias]
    filters = [p for p in model.parameters() if p.ndim == 4 and p.requires_grad]
    decay = DECAY * SUMMED
    groups: list[dict[str, Any]] = [
        {"params": [model.whiten.bias], "lr": BIAS_LR, "weight_decay": decay / BIAS_LR},
        {"params": biases, "lr": BIAS_LR, "weight_decay": decay / BIAS_LR},
        {"params": [model.head.weight], "lr": HEAD_LR, "weight_decay": decay / HEAD_LR},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SGD(groups, momentum=0.85, nesterov=True),
        _Muon(filters, lr=MUON_LR),
    ]
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    batch = min(BATCH, len(pixels))
    per_epoch = len(pixels) // batch

    def step(chosen: Tensor, epoch: int, narrow: bool) -> None:
        inputs = augmented(normalised(pixels[chosen]), (chosen + epoch) % 2 == 0)
        with precision(narrow):
            logits = model(inputs).float()
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.2, reduction="mean") * SUMMED
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    kept = {name: value.clone() for name, value in model.state_dict().items()}

    def seconds_of(count: int, narrow: bool) -> float:
        """Of the last of WARM steps with so many pictures."""
        for _ in range(WARM):
            started = time.monotonic()
            step(torch.randperm(len(pixels))[:count], 0, narrow)
        return time.monotonic() - started

    narrow = able() and seconds_of(TRIED, True) < seconds_of(TRIED, False)
    each = seconds_of(batch, narrow)
    model.load_state_dict(kept)
    for optimizer in optimizers:
        optimizer.state.clear()
    viewing = 0.4 * each / batch * len(test_pixels)  # of one view: a third of a step and some
    views = 6 if 6 * viewing <= 0.1 * seconds else 2
    testing = views * viewing
    total = max(2, int((seconds - (time.monotonic() - BEGAN) - testing - 1) / (1.05 * each)))
    whitening = max(1, round(total * 3 / EPOCHS))  # as long as the original lets the first bias learn
    model.train()
    for done in range(total):
        epoch, place = divmod(done, per_epoch)
        if place == 0:
            order = torch.randperm(len(pixels))
        for optimizer, first in zip(optimizers, rates, strict=True):
            for number, group in enumerate(optimizer.param_groups):
                last = whitening if optimizer is optimizers[0] and number == 0 else total
                group["lr"] = first[number] * max(0.0, 1 - done / last)
        step(order[place * batch : (place + 1) * batch], epoch, narrow)
        if time.monotonic() - BEGAN > seconds - testing:
            break
    model.eval()
    right = 0
    with torch.no_grad(), precision(narrow):
        for start in range(0, len(test_pixels), 500):
            seen = six(normalised(test_pixels[start : start + 500]))[:views]
            logits = sum(weight * model(view).float() for weight, view in seen)
            assert isinstance(logits, Tensor)
            right += int((logits.argmax(1) == test_labels[start : start + 500]).sum())
    wall = time.monotonic() - BEGAN
    told = {
        "accuracy": right / len(test_pixels),
        "n": len(test_pixels),
        "seconds": wall,
        "epochs": (done + 1) / per_epoch,
        "bfloat16": narrow,
        "views": views,
    }
    sys.stdout.write(json.dumps(told) + "\n")


def normalised(pixels: Tensor) -> Tensor:
    """uint8[N, 32, 32, 3] -> float[N, 3, 32, 32]."""
    planes = (pixels.float() - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    return planes.permute(0, 3, 1, 2)


def augmented(planes: Tensor, mirrored: Tensor) -> Tensor:
    """Those of `mirrored` (bool[N]) mirrored, and each shifted by up to two pixels, reflected at the border."""
    planes = torch.where(mirrored.view(-1, 1, 1, 1), planes.flip(3), planes)
    padded = F.pad(planes, (2, 2, 2, 2), mode="reflect")
    shifts = torch.randint(0, 5, (2, len(planes)))
    out = torch.empty_like(planes)
    for down in range(5):
        for right in range(5):
            some = (shifts[0] == down) & (shifts[1] == right)
            out[some] = padded[some, :, down : down + 32, right : right + 32]
    return out


def six(planes: Tensor) -> list[tuple[float, Tensor]]:
    """Views and their weights: as it is and shifted by a pixel both ways, each also mirrored."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="reflect")
    shifted = (padded[:, :, :32, :32], padded[:, :, 2:, 2:])
    plain = [(0.25, view) for view in (planes, planes.flip(3))]
    return plain + [(0.125, view) for moved in shifted for view in (moved, moved.flip(3))]


def able() -> bool:
    """Whether the processor has instructions for bfloat16: they need not be faster."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def precision(narrow: bool) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where `narrow`."""
    return torch.autocast("cpu", torch.bfloat16) if narrow else contextlib.nullcontext()


if __name__ == "__main__":
    main()

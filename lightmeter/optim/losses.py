"""Labels to soft targets, and logits with soft targets to a loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def soft_targets(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Labels int64[N] to probabilities float32[N, K]: `smoothing` of each is shared out evenly among all K classes."""
    targets = torch.full((len(labels), num_classes), smoothing / num_classes, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1.0 - smoothing + smoothing / num_classes)


def cross_entropy(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of soft targets, computed in float32.

    Args:
        logits: float [N, K].
        targets: probabilities float32[N, K].
        class_weights: float32[K], by which each class's share of the loss is multiplied. The mean stays one over N,
            not over the weights, so that the parts of a batch add up to the whole.
    """
    surprise = -targets * logits.float().log_softmax(dim=1)
    if class_weights is not None:
        surprise = surprise * class_weights.to(logits.device)
    return surprise.sum(dim=1).mean()


def sum_of_squares(module: nn.Module) -> Tensor:
    """Of all trained filters and matrices, a scalar with gradient."""
    parts = [part.square().sum() for part in module.parameters() if part.requires_grad and part.ndim >= 2]
    return torch.stack(parts).sum()


def class_weights_from_counts(counts: Tensor) -> Tensor:
    """Training images per class int64[K] to weights float32[K] under which each class counts the same.

    The mean weight of an image is 1. A class without images has weight 0.
    """
    present = counts > 0
    even = counts.sum() / (present.sum() * counts.clamp(min=1))
    return torch.where(present, even, torch.zeros_like(even)).to(torch.float32)

"""Losses against torch's own and scikit-learn's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from lightmeter.optim.losses import class_weights_from_counts, cross_entropy, soft_targets


def batch(n: int = 12, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(n, classes, generator=generator), torch.randint(0, classes, (n,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothed_cross_entropy_is_torchs(smoothing: float) -> None:
    logits, labels = batch()
    targets = soft_targets(labels, 5, smoothing)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(12))
    torch.testing.assert_close(
        cross_entropy(logits, targets), F.cross_entropy(logits, labels, label_smoothing=smoothing)
    )


def test_without_smoothing_targets_are_exactly_one_hot() -> None:
    _, labels = batch()
    assert torch.equal(soft_targets(labels, 5), F.one_hot(labels, 5).float())


def test_weighted_soft_targets_are_torchs() -> None:
    logits, _ = batch()
    targets, weights = torch.softmax(batch()[0].flip(0), dim=1), torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0])
    torch.testing.assert_close(
        cross_entropy(logits, targets, weights), F.cross_entropy(logits, targets, weight=weights)
    )


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    logits, labels = batch()
    targets, weights = soft_targets(labels, 5, 0.1), torch.tensor([0.5, 1.0, 2.0, 0.1, 3.0])
    parts = [(slice(0, 5), 5 / 12), (slice(5, 12), 7 / 12)]
    added = sum(share * cross_entropy(logits[part], targets[part], weights) for part, share in parts)
    torch.testing.assert_close(torch.as_tensor(added), cross_entropy(logits, targets, weights))


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits, labels = batch()
    targets = soft_targets(labels, 5)
    low = logits.bfloat16()
    assert torch.equal(cross_entropy(low, targets), cross_entropy(low.float(), targets))


def test_huge_logits_stay_finite() -> None:
    assert cross_entropy(torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(2e4)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat([0, 1, 2], [10, 30, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    weights = class_weights_from_counts(torch.tensor([10, 30, 2]))
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
    assert weights.dtype == torch.float32


def test_a_class_without_pictures_weighs_nothing_and_the_mean_picture_weighs_one() -> None:
    counts = torch.tensor([10, 0, 30])
    weights = class_weights_from_counts(counts)
    assert weights[1] == 0
    assert (weights * counts).sum().item() == pytest.approx(counts.sum().item())

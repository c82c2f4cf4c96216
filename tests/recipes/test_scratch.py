"""The numbers of the recipes that start from random weights."""

from __future__ import annotations

import pytest

from lightmeter.nouns.preprocess import Preprocess
from lightmeter.recipes import RECIPES, Facts


@pytest.mark.parametrize(
    ("n", "batch", "lr", "bias_lr", "head_lr"),
    [
        (100, 16, 0.021466, 0.848, 10.72),
        (1_000, 64, 0.042933, 3.392, 42.88),
        (10_000, 512, 0.121432, 27.136, 343.04),
        (60_000, 1_000, 0.169706, 53.0, 670.0),
    ],
)
def test_rates_of_fast_follow_its_batch_and_its_batch_the_pictures(
    n: int, batch: int, lr: float, bias_lr: float, head_lr: float
) -> None:
    recipe = RECIPES["fast"](Facts(n, 10, Preprocess(size=32, channels=3), True, 0), epochs=1.0, width=0.5)
    assert recipe.batch_size == batch
    # 0.24 for 2,000 images, by the square root of the batch; 0.053 and 0.67 of a sum over the batch.
    assert recipe.optimizer.lr == pytest.approx(lr, rel=1e-4)
    assert (recipe.optimizer.bias_lr, recipe.optimizer.head_lr) == pytest.approx((bias_lr, head_lr))

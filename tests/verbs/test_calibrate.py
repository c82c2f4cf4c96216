from __future__ import annotations

import json

import numpy as np
import pytest

from lightmeter.nouns.evaluation import Evaluation
from lightmeter.verbs.calibrate import abstain_threshold, calibrate, fit_temperature


def drawn(n: int, k: int = 10, *, temperature: float, seed: int = 0, spread: float = 3.0) -> Evaluation:
    """Labels drawn from softmax(logits / temperature): that temperature is the right one."""
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(n, k)) * spread).astype(np.float32)
    gumbel = -np.log(-np.log(random.random((n, k))))
    labels = (logits / temperature + gumbel).argmax(axis=1)
    return Evaluation(tuple(map(str, range(n))), logits, labels, tuple(map(str, range(k))), "val")


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_that_drew_the_labels_is_found(true: float) -> None:
    found = calibrate(drawn(5000, temperature=true))
    assert found.temperature == pytest.approx(true, rel=0.07)
    assert found.loss_after <= found.loss_before
    assert found.ece_after < 0.03
    if true != 1.0:
        assert found.ece_after < found.ece_before


def test_the_temperature_is_the_best_of_a_fine_grid() -> None:
    val = drawn(400, 3, temperature=1.6)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 4001))

    def cost(t: float) -> float:  # the obvious twin
        p = np.exp(val.logits.astype(np.float64) / t)
        p /= p.sum(axis=1, keepdims=True)
        return -sum(np.log(p[row, label]) for row, label in enumerate(val.labels)) + np.log(t) ** 2 / 2

    coarse = grid[::20]
    near = coarse[int(np.argmin([cost(t) for t in coarse]))]
    fine = grid[(grid > near * 0.9) & (grid < near * 1.1)]
    assert fit_temperature(val.logits, val.labels) == pytest.approx(
        fine[int(np.argmin([cost(t) for t in fine]))], rel=2e-3
    )


def test_a_few_pictures_without_a_mistake_do_not_make_the_model_certain() -> None:
    logits = np.eye(4, dtype=np.float32)[np.arange(20) % 4] * 2
    val = Evaluation(tuple(map(str, range(20))), logits, np.arange(20) % 4, tuple("abcd"), "val")
    found = calibrate(val)
    assert found.temperature > 0.15  # the likelihood alone goes to the end of the range, 0.05
    assert not found.reached  # 20 pictures cannot show an error of 0
    assert found.kept == 1.0


def slow_threshold(confidence: list[float], correct: list[bool], target: float) -> float | None:
    good = []
    for t in sorted(set(confidence)):
        kept = [right for c, right in zip(confidence, correct, strict=True) if c >= t]
        if (kept.count(False) + 1) / (len(kept) + 2) <= target:
            good.append(t)
    return min(good) if good else None


@pytest.mark.parametrize("seed", range(12))
def test_the_abstain_threshold_is_its_obvious_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 200))
    confidence = np.round(random.random(n), 2)  # with ties
    correct = random.random(n) < confidence ** (0.2 + seed / 10)
    for target in (0.0, 0.02, 0.1, 0.3, 0.9):
        threshold, reached = abstain_threshold(confidence, correct, target)
        expected = slow_threshold(confidence.tolist(), correct.tolist(), target)
        assert reached == (expected is not None)
        assert threshold == expected or expected is None
        assert threshold in confidence


def test_what_is_kept_meets_the_target_and_little_evidence_counts_for_little() -> None:
    val = drawn(4000, temperature=1.5)
    found = calibrate(val)
    assert found.reached and found.target_error == min(0.05, (1 - val.accuracy) / 2)
    assert found.kept_error <= found.target_error
    assert 0 < found.kept < 1
    assert found.abstain_below > calibrate(val, ceiling=0.2).abstain_below
    few = abstain_threshold(np.array([0.9, 0.8, 0.7]), np.array([True, True, True]), 0.05)
    assert few == (0.7, False)  # nothing wrong in 3 pictures is no evidence of 5 %


def test_it_is_plain_json_and_refuses_the_test_split() -> None:
    val = drawn(200, temperature=1.0)
    json.dumps(calibrate(val).document(), allow_nan=False)
    test = Evaluation(val.ids, val.logits, val.labels, val.classes, "test")
    with pytest.raises(AssertionError, match="never used"):
        calibrate(test)

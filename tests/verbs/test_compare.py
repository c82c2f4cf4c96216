from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom

from lightmeter.errors import DataError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.verbs.compare import _about, compare


def having(right: np.ndarray, *, ids: list[str] | None = None) -> Evaluation:
    """Two classes; each picture named right or wrong as told."""
    n = len(right)
    labels = np.arange(n) % 2
    named = np.where(right, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[named] * 3
    return Evaluation(tuple(ids or [f"{row}" for row in range(n)]), logits, labels, ("cat", "dog"), "test")


def pair(both: int, first: int, second: int, neither: int) -> tuple[Evaluation, Evaluation]:
    a = np.repeat([True, True, False, False], [both, first, second, neither])
    b = np.repeat([True, False, True, False], [both, first, second, neither])
    return having(a), having(b)


def slow_mcnemar(first: int, second: int) -> float:
    if first + second == 0:
        return 1.0
    m, k = first + second, min(first, second)
    return min(1.0, 2 * sum(binom.pmf(i, m, 0.5) for i in range(k + 1)))


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ((900, 10, 40, 50), "better"),
        ((900, 40, 10, 50), "worse"),
        ((900, 25, 30, 45), "not distinguishable"),
        ((90, 0, 5, 5), "not distinguishable"),  # p = 0.0625
        ((90, 0, 6, 4), "better"),  # p = 0.03125
        ((90, 5, 5, 0), "not distinguishable"),
        ((100, 0, 0, 0), "not distinguishable"),
    ],
)
def test_the_verdict_is_that_of_the_exact_test(cells: tuple[int, int, int, int], verdict: str) -> None:
    first, second = pair(*cells)
    found = compare(first, second)
    assert found.verdict == verdict
    assert found.p == pytest.approx(slow_mcnemar(cells[1], cells[2]), rel=1e-9)
    assert found.difference == pytest.approx(second.accuracy - first.accuracy)
    assert (found.only_first, found.only_second) == cells[1:3]
    assert found.low <= found.difference <= found.high
    json.dumps(found.document(), allow_nan=False)
    assert "Model A" in found.sentence("Model A", "Model B") and "Model B" in found.sentence("Model A", "Model B")


def test_the_interval_is_that_of_resampling_the_pictures() -> None:
    first, second = pair(300, 12, 30, 58)
    gaps = second.correct.astype(int) - first.correct.astype(int)
    random = np.random.default_rng(1)
    means = [gaps[random.integers(0, len(gaps), len(gaps))].mean() for _ in range(4000)]  # the obvious twin
    found = compare(first, second)
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]).tolist(), abs=0.004)
    assert compare(first, second) == found


def test_of_pictures_that_both_name_alike_the_interval_says_how_many_they_are() -> None:
    for n in (15, 1000):
        found = compare(*pair(n, 0, 0, 0))
        assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / n))
        assert (1 - found.high) ** n == pytest.approx(0.025)  # so seldom would n pictures hide that many


def test_where_interval_and_test_disagree_it_is_said_which_decides() -> None:
    found = compare(*pair(90, 0, 5, 5))
    assert found.low > 0 and found.verdict == "not distinguishable"
    assert "p decides" in found.sentence("a", "b")
    assert "p decides" not in compare(*pair(900, 25, 30, 45)).sentence("a", "b")


def test_how_many_more_pictures_would_tell_is_about_right() -> None:
    first, second = pair(900, 20, 30, 50)
    found = compare(first, second)
    assert found.more is not None and found.more > 0
    n, random, seen = found.n + found.more, np.random.default_rng(0), 0
    for _ in range(300):
        only_first, only_second, _ = random.multinomial(n, [0.02, 0.03, 0.95])
        seen += slow_mcnemar(only_first, only_second) <= 0.05 and only_second > only_first
    assert 0.7 < seen / 300 < 0.9
    assert compare(*pair(900, 10, 40, 50)).more == 0
    assert compare(*pair(900, 10, 10, 80)).more is None


def test_the_order_of_pictures_and_of_classes_does_not_matter() -> None:
    first, second = pair(50, 3, 9, 4)
    turn = np.random.default_rng(0).permutation(second.n)
    other = Evaluation(
        tuple(second.ids[row] for row in turn),
        second.logits[turn][:, ::-1].copy(),
        1 - second.labels[turn],
        ("dog", "cat"),
        "test",
    )
    assert compare(first, other) == compare(first, second)


def test_other_pictures_or_other_labels_are_refused() -> None:
    first, second = pair(5, 1, 2, 2)
    partly = having(second.correct, ids=[f"{row + 4}" for row in range(10)])
    with pytest.raises(DataError, match="10 and 10, of which 6 are shared"):
        compare(first, partly)
    with pytest.raises(DataError, match="10 and 9, of which 9 are shared"):
        compare(first, having(second.correct[:9]))
    relabelled = Evaluation(second.ids, second.logits, 1 - second.labels, second.classes, "test")
    with pytest.raises(DataError, match="10 of 10 pictures carry another label"):
        compare(first, relabelled)


@pytest.mark.parametrize(
    ("exact", "said"), [(0, 0), (7, 7), (99, 99), (101, 110), (123_976, 130_000), (990_001, 1_000_000)]
)
def test_a_number_of_pictures_is_not_said_more_exactly_than_it_is_known(exact: int, said: int) -> None:
    assert _about(exact) == said

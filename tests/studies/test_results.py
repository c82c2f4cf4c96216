"""Means, verdicts and knees against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from lightmeter.errors import DataError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.studies.results import Point, apart, beside, judge, knee, mean_accuracy


def scored(right: list[int], n: int, *, ids: str = "p") -> Evaluation:
    """n pictures of class 0, of which those listed were named right."""
    logits = np.zeros((n, 2), np.float32)
    logits[:, 1] = 1.0
    logits[right, 0] = 2.0
    names = tuple(f"{ids}{number}" for number in range(n))
    return Evaluation(names, logits, np.zeros(n, np.int64), ("a", "b"), "test")


class TestMean:
    def test_of_several_seeds_is_students(self) -> None:
        found = mean_accuracy([{"accuracy": value} for value in (0.80, 0.82, 0.84)])
        assert found.mean == pytest.approx(0.82)
        # t(0.975, 2) = 4.302653, s = 0.02
        assert found.high - found.mean == pytest.approx(4.302653 * 0.02 / math.sqrt(3), abs=1e-6)
        assert (found.n, found.basis) == (3, "seeds")

    def test_of_one_is_that_of_its_pictures(self) -> None:
        found = mean_accuracy([{"accuracy": 0.9, "low": 0.85, "high": 0.93}])
        assert (found.mean, found.low, found.high, found.basis) == (0.9, 0.85, 0.93, "pictures")

    def test_stays_within_0_and_1(self) -> None:
        found = mean_accuracy([{"accuracy": value} for value in (0.9, 1.0)])
        assert (found.low, found.high) == (pytest.approx(0.95 - 12.7062 * 0.0707107 / math.sqrt(2), abs=1e-4), 1.0)


class TestJudge:
    def test_one_seed_is_mcnemar(self) -> None:
        found = judge({0: scored([0, 1], 40)}, {0: scored(list(range(1, 12)), 40)})
        assert found.comparison.p == pytest.approx(binomtest(10, 11, 0.5).pvalue)
        assert found.comparison.verdict == "better"
        assert not found.disagree

    def test_each_picture_counts_once_however_many_seeds_scored_it(self) -> None:
        """Three seeds that answer alike say no more about pictures than one: p is McNemar's of one seed."""
        first, second = scored([0, 1], 40), scored(list(range(1, 9)), 40)
        found = judge(dict.fromkeys(range(3), first), dict.fromkeys(range(3), second))
        assert found.comparison.n == 40
        assert found.comparison.p == pytest.approx(binomtest(7, 8, 0.5).pvalue, abs=0.004)
        single = judge({0: first}, {0: second}).comparison
        assert found.comparison.difference == pytest.approx(single.difference)
        assert found.comparison.low == pytest.approx(single.low, abs=0.02)
        assert found.comparison.verdict == single.verdict == "not distinguishable"

    def test_seeds_that_contradict_each_other_give_no_verdict(self) -> None:
        base = scored(list(range(50)), 100)
        first = {0: base, 1: base}
        found = judge(first, {0: scored(list(range(90)), 100), 1: scored(list(range(48)), 100)})
        assert found.disagree  # the pictures alone would call it better
        assert (found.comparison.low, found.comparison.high) == (-1, 1)
        assert found.comparison.verdict == "not distinguishable"
        assert "1 of 2 seeds" in found.sentence("a", "b")

    def test_a_verdict_needs_the_seeds_too(self) -> None:
        """All three ahead, but one by far: Student's t of 2, 30 and 2 points is p = 0.35."""
        base = scored(list(range(100)), 400)
        found = judge(
            dict.fromkeys(range(3), base),
            {seed: scored(list(range(100 + more)), 400) for seed, more in enumerate((8, 120, 8))},
        )
        assert found.comparison.verdict == "not distinguishable"
        assert found.comparison.p == pytest.approx(ttest_1samp([0.02, 0.3, 0.02], 0).pvalue)
        assert found.comparison.low < 0 < found.comparison.high
        said = found.sentence("a", "b")
        assert "ahead with 3 of 3 seeds, but" in said
        assert "from +2.00 to +30.00 points, p = 0.35 over them" in said

    def test_equals_are_rarely_told_apart_however_much_seeds_scatter(self) -> None:
        draw = np.random.default_rng(0)

        def arm() -> dict[int, Evaluation]:
            shares = np.clip(draw.normal(0.7, 0.03, 3), 0, 1)
            return {seed: scored(np.flatnonzero(draw.random(500) < s).tolist(), 500) for seed, s in enumerate(shares)}

        verdicts = [judge(arm(), arm()).comparison.verdict for _ in range(60)]
        assert sum(verdict != "not distinguishable" for verdict in verdicts) <= 6  # 3 are expected at most

    def test_only_seeds_that_both_have_count(self) -> None:
        one = scored([0], 10)
        found = judge({0: one, 1: one}, {1: one, 2: one})
        assert found.seeds == (1,)
        assert found.comparison.difference == 0

    def test_seeds_with_other_test_pictures_are_pooled(self) -> None:
        first = {seed: scored([], 20, ids=f"s{seed}-") for seed in (0, 1)}
        second = {seed: scored(list(range(6)), 20, ids=f"s{seed}-") for seed in (0, 1)}
        found = judge(first, second)
        assert (found.comparison.n, found.comparison.verdict) == (40, "better")
        assert found.comparison.p == pytest.approx(2 * 0.5**12, abs=1e-3)
        assert found.sentence("a", "b").endswith("2 seeds each.")

    def test_more_pictures_are_what_a_normal_test_of_this_size_needs(self) -> None:
        found = judge(
            {0: scored([0, 1, 2], 100), 1: scored([0, 1, 2], 100)},
            {0: scored([2, 3, 4, 5], 100), 1: scored([2, 3, 4, 5], 100)},
        )
        sums = np.array([-2, -2, 2, 2, 2] + [0] * 95)
        needed = ((1.959964 + 0.841621) * sums.std() / sums.mean()) ** 2
        assert found.comparison.more == math.ceil(needed) - 100

    def test_other_pictures_are_refused(self) -> None:
        with pytest.raises(DataError, match="did not score the same pictures"):
            judge({0: scored([0], 10)}, {0: scored([0], 10, ids="q")})


class TestApart:
    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            (0.5, 0.6, "better"),
            (0.6, 0.5, "worse"),
            (0.5, 0.53, "not distinguishable"),
            (1.0, 1.0, "not distinguishable"),
        ],
    )
    def test_goes_by_the_normal_error(self, first: float, second: float, expected: str) -> None:
        # 1.96 * sqrt(0.25 / 1000 + 0.24 / 1000) = 0.043
        assert apart(first, 1000, second, 1000) == expected


def curve(*accuracies: float, cost: float = 10.0) -> list[Point]:
    return [Point(f"p{place}", cost * (place + 1), accuracy) for place, accuracy in enumerate(accuracies)]


def by_gap(points: list[Point], least: float) -> list[list[str]]:
    """Verdicts where a gap of `least` shows."""
    return [["better" if b.accuracy - a.accuracy >= least else "not distinguishable" for b in points] for a in points]


class TestKnee:
    def test_is_where_nothing_later_is_distinguishably_better(self) -> None:
        points = curve(0.5, 0.7, 0.8, 0.801, 0.802)
        found = knee(points, by_gap(points, 0.01))
        assert found["name"] == "p2"
        assert "nothing beyond p2" in found["reason"]

    def test_is_the_end_where_every_step_pays(self) -> None:
        points = curve(0.5, 0.6, 0.7)
        assert knee(points, by_gap(points, 0.01))["name"] == "p2"

    def test_is_where_a_second_gains_a_tenth_of_what_it_did(self) -> None:
        """From 0.5 to 0.8 in 20 s is 0.015 a second; 0.01 in the next 10 s is less than a tenth of that."""
        points = curve(0.5, 0.65, 0.8, 0.81)
        found = knee(points, by_gap(points, 0.005))
        assert found["name"] == "p2"
        assert "less than 10%" in found["reason"]

    def test_a_dip_on_the_way_does_not_end_it(self) -> None:
        points = curve(0.5, 0.45, 0.9)
        assert knee(points, by_gap(points, 0.01))["name"] == "p2"

    def test_the_way_up_from_a_dip_is_no_gain(self) -> None:
        points = curve(0.5, 0.6, 0.4, 0.61, cost=100.0)
        *_, down, up = knee(points, by_gap(points, 0.005))["steps"]
        assert (down["from"], down["tenth"]) == ("p1", None)
        assert (up["from"], up["verdict"]) == ("p1", "better")
        assert up["tenth"] == pytest.approx(20.0)  # 200 s since the best before it, for 1 point

    def test_the_price_of_a_tenth_of_a_point(self) -> None:
        points = curve(0.5, 0.52, 0.52, cost=100.0)
        first, second = knee(points, by_gap(points, 0.01))["steps"]
        assert first["tenth"] == pytest.approx(5.0)  # 100 s for 2 points are 20 tenths
        assert second["tenth"] is None


@pytest.mark.parametrize(
    ("pictures", "low", "verdict"),
    [(300, 1.0, "not distinguishable"), (100_000, 1.0, "better"), (100_000, 0.9, "not distinguishable")],
)
def test_seeds_that_agree_leave_the_doubt_of_few_pictures(pictures: int, low: float, verdict: str) -> None:
    """Of 300 pictures all right the Wilson interval begins at 98.7 %."""
    assert beside({"mean": 1.0, "low": low, "high": 1.0}, pictures, 0.996) == verdict

"""What trials found -> what may be said: means with intervals, paired verdicts over seeds, and where more stops paying.

Several seeds. Every seed trains on its own draw and is scored on the same pictures, so pictures are what two arms share
and what chance acts on: one test resamples and permutes pictures, each with the answers of all its seeds. That alone
would call one lucky training a better method, so the differences of the seeds are tested as well, by Student's t: a
verdict needs both, and what is printed is the larger p and the interval that spans both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.evaluation import Evaluation, wilson
from lightmeter.verbs.compare import DRAWS, LEVEL, POWER, Comparison, Verdict, compare, none_of, p_words

SHARE = 0.1
"""A step along the curve pays while its gain for the cost is at least this share of what the curve gave until there."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds with its 95 % interval, or a single value with that of its test pictures.

    Attributes:
        basis: "seeds" (Student's t over trainings) or "pictures" (Wilson, over test pictures of one training).
    """

    mean: float
    low: float
    high: float
    n: int
    basis: str

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def mean_accuracy(tests: Sequence[dict[str, float]]) -> Mean:
    """The mean of test accuracies from `Evaluation.summary`, one for each seed. Source: Student, 1908; Wilson, 1927."""
    values = [test["accuracy"] for test in tests]
    if len(values) == 1:
        return Mean(values[0], tests[0]["low"], tests[0]["high"], 1, "pictures")
    from scipy.stats import t

    centre = float(np.mean(values))
    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Mean(centre, max(0.0, centre - half), min(1.0, centre + half), len(values), "seeds")


@dataclass(frozen=True, slots=True)
class Judged:
    """A Comparison over one seed or several.

    Attributes:
        comparison: of all answers together; its `n` counts pictures.
        seeds: that both arms finished, in order.
        differences: second minus first for each of them.
        disagree: whether the pictures show a difference that the seeds alone do not, so that there is no verdict.
    """

    comparison: Comparison
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    disagree: bool

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self.comparison.document(),
            "seeds": list(self.seeds),
            "differences": list(self.differences),
            "disagree": self.disagree,
        }

    def sentence(self, first: str, second: str) -> str:
        """The verdict in plain words."""
        if self.disagree:
            ups = sum(difference > 0 for difference in self.differences)
            least, most = (100 * value for value in (min(self.differences), max(self.differences)))
            return (
                f"{second} and {first} cannot be told apart: {second} was ahead with {ups} of {len(self.seeds)} seeds, "
                f"but the seeds differ too much among themselves (from {least:+.2f} to {most:+.2f} points, "
                f"{p_words(self.comparison.p)} over them). More seeds would tell."
            )
        text = self.comparison.sentence(first, second)
        return text if len(self.seeds) == 1 else f"{text[:-1]}, {len(self.seeds)} seeds each."


def judge(first: dict[int, Evaluation], second: dict[int, Evaluation]) -> Judged:
    """Hold two arms against each other, {seed: test Evaluation}, on the seeds that both have.

    With one seed it is `compare`. With several, each picture is a cluster of its answers: p is that of flipping the
    sign of whole pictures (McNemar's test where each has one answer), the interval is a bootstrap of pictures. The
    same is asked of the seeds' differences with Student's t; both must show a difference for a verdict.

    Raises:
        DataError: an arm scored other pictures than the other one did with the same seed.
    """
    seeds = tuple(sorted(set(first) & set(second)))
    assert seeds, "no seed that both finished"
    each = [compare(first[seed], second[seed]) for seed in seeds]
    differences = tuple(found.difference for found in each)
    if len(seeds) == 1:
        return Judged(each[0], seeds, differences, False)
    sums, counts = _clusters(first, second, seeds)
    pooled = _pooled(sums, counts, each)
    by_seeds = over_seeds(differences)
    disagree = pooled.verdict != "not distinguishable" and by_seeds.p > LEVEL
    if disagree:
        pooled = replace(pooled, verdict="not distinguishable", more=None)
    low, high = max(-1.0, min(pooled.low, by_seeds.low)), min(1.0, max(pooled.high, by_seeds.high))
    return Judged(replace(pooled, p=max(pooled.p, by_seeds.p), low=low, high=high), seeds, differences, disagree)


@dataclass(frozen=True, slots=True)
class OverSeeds:
    """Student's paired t of differences, one a seed: two-sided p, and the 95 % interval of their mean."""

    p: float
    low: float
    high: float


def over_seeds(differences: Sequence[float]) -> OverSeeds:
    """Two differences at least. Where all are equal there is nothing for chance to have done; p is then 1 or 0."""
    from scipy.stats import t

    centre, free = float(np.mean(differences)), len(differences) - 1
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    if error < 1e-12:
        return OverSeeds(1.0 if abs(centre) < 1e-12 else 0.0, centre, centre)
    half = float(t.ppf(0.975, free)) * error
    return OverSeeds(2 * float(t.sf(abs(centre) / error, free)), centre - half, centre + half)


def beside(found: Mapping[str, Any], pictures: int, published: float) -> Verdict:
    """A mean accuracy, as `Mean.document` gives it, beside a figure that others published: better, worse or neither.

    Their test pictures were others, so that the interval over seeds, which is of these pictures, is widened to that of
    the pictures (Wilson) where it is narrower.
    """
    low, high = wilson(found["mean"] * pictures, pictures)
    if min(found["low"], float(low)) > published:
        return "better"
    return "worse" if max(found["high"], float(high)) < published else "not distinguishable"


def _clusters(
    first: dict[int, Evaluation], second: dict[int, Evaluation], seeds: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per picture: right answers of the second arm more than of the first, and how many seeds scored it."""
    place: dict[str, int] = {}
    for seed in seeds:
        for id in first[seed].ids:
            place.setdefault(id, len(place))
    sums, counts = np.zeros(len(place), np.int64), np.zeros(len(place), np.int64)
    for seed in seeds:
        for sign, evaluation in ((-1, first[seed]), (1, second[seed])):
            rows = np.array([place[id] for id in evaluation.ids])
            sums[rows] += sign * evaluation.correct
        counts[rows] += 1
    return sums, counts


def _pooled(sums: NDArray[np.int64], counts: NDArray[np.int64], each: Sequence[Comparison]) -> Comparison:
    total, answers, n = int(sums.sum()), int(counts.sum()), len(sums)
    generator = np.random.default_rng(0)
    p = _flipped(sums, generator)
    # Pictures alike in sum and count are drawn together: a multinomial instead of an array of DRAWS x n.
    kinds, frequency = np.unique(np.stack([sums, counts]), axis=1, return_counts=True)
    drawn = generator.multinomial(n, frequency / n, size=DRAWS)  # int64[DRAWS, kinds]
    low, high = np.quantile((drawn @ kinds[0]) / (drawn @ kinds[1]), [0.025, 0.975])
    if not sums.any():
        low, high = -none_of(n), none_of(n)
    verdict: Verdict = "not distinguishable"
    if p <= LEVEL:
        verdict = "better" if total > 0 else "worse"
    return Comparison(
        n=n,
        first=float(np.average([found.first for found in each], weights=[found.n for found in each])),
        second=float(np.average([found.second for found in each], weights=[found.n for found in each])),
        difference=total / answers,
        low=float(low),
        high=float(high),
        only_first=sum(found.only_first for found in each),
        only_second=sum(found.only_second for found in each),
        p=p,
        verdict=verdict,
        more=0 if p <= LEVEL else _more(sums),
    )


def _flipped(sums: NDArray[np.int64], generator: np.random.Generator) -> float:
    """Two-sided p of the sum of `sums` when each could as well have had the other sign; 1 where all are 0."""
    sizes, frequency = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    totals = np.zeros(10 * DRAWS, np.int64)
    for size, count in zip(sizes.tolist(), frequency.tolist(), strict=True):
        totals += size * (2 * generator.binomial(count, 0.5, size=len(totals)) - count)
    extreme = int((np.abs(totals) >= abs(int(sums.sum()))).sum())
    return (1 + extreme) / (1 + len(totals))


def _more(sums: NDArray[np.int64]) -> int | None:
    """Further pictures that would show the mean difference seen with POWER: the normal approximation."""
    from scipy.stats import norm

    mean = abs(float(sums.mean()))
    if mean == 0:
        return None
    needed = (float(norm.ppf(1 - LEVEL / 2) + norm.ppf(POWER)) * float(sums.std()) / mean) ** 2
    return max(1, math.ceil(needed) - len(sums))


def apart(first: float, n_first: int, second: float, n_second: int) -> Verdict:
    """The second accuracy against the first where each was measured on pictures of its own: by their normal errors."""
    from scipy.stats import norm

    error = math.sqrt(first * (1 - first) / n_first + second * (1 - second) / n_second)
    if abs(second - first) <= float(norm.ppf(1 - LEVEL / 2)) * error:
        return "not distinguishable"
    return "better" if second > first else "worse"


@dataclass(frozen=True, slots=True)
class Point:
    """An arm on a curve: its cost in seconds of training, and its accuracy."""

    name: str
    cost: float
    accuracy: float


def knee(points: Sequence[Point], verdicts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The first point of a curve after which more cost no longer pays.

    That is the first from which no later point is distinguishably better; or the first from which every better
    point gains, for each second more, less than `SHARE` of what the curve gained for a second until there.

    Args:
        points: in order of growing cost.
        verdicts: `verdicts[i][j]` is that of point j against point i, for i < j; entries below are not read.

    Returns:
        {"name", "reason", "steps": [{"from", "to", "gain", "cost", "tenth", "verdict"}]}: each point against the best
        one before it, as the way up from a dip is no gain; "cost" is the extra seconds and "tenth" the seconds that a
        tenth of a point cost, None where there was no gain.
    """
    steps = []
    for place, after in enumerate(points[1:], start=1):
        best = max(range(place), key=lambda earlier: points[earlier].accuracy)
        here = points[best]
        gain, cost = after.accuracy - here.accuracy, after.cost - here.cost
        tenth = 0.001 * max(cost, 0.0) / gain if gain > 1e-12 else None
        verdict = verdicts[best][place]
        step = {"from": here.name, "to": after.name, "gain": gain, "cost": cost, "tenth": tenth, "verdict": verdict}
        steps.append(step)
    for place, point in enumerate(points):
        later = verdicts[place][place + 1 :]
        if "better" not in later:
            if not later:
                reason = f"every step still paid, up to {point.name}, where the curve ends."
            else:
                reason = f"nothing beyond {point.name} is distinguishably better."
            return {"name": point.name, "reason": reason, "steps": steps}
        gain, cost = point.accuracy - points[0].accuracy, point.cost - points[0].cost
        # Past a point that is no better the way may lead to one that is: the cheapest gain ahead counts.
        ahead = [
            (other.accuracy - point.accuracy) / (other.cost - point.cost) if other.cost > point.cost else math.inf
            for other, verdict in zip(points[place + 1 :], later, strict=True)
            if verdict == "better"
        ]
        if gain > 0 and cost > 0 and max(ahead) < SHARE * gain / cost:
            reason = (
                f"after {point.name} a second of training gains less than {SHARE:.0%} of what it gained until there."
            )
            return {"name": point.name, "reason": reason, "steps": steps}
    raise AssertionError("the last point has nothing after it")

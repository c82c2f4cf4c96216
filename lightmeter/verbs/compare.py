"""compare: two Evaluations of the same pictures to whether one model is better, picture by picture."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from lightmeter.errors import DataError
from lightmeter.nouns.evaluation import Evaluation

LEVEL = 0.05
"""A difference counts when McNemar's exact p is at most this."""

POWER = 0.8
"""Chance of seeing a real difference of the size found, for which `more` is reckoned."""

DRAWS = 10_000
Verdict = Literal["better", "worse", "not distinguishable"]


def p_words(p: float) -> str:
    """As in "p = 0.02"; what is too small to mean more than that is not given in digits."""
    return f"p = {p:.2g}" if p >= 1e-6 else "p < 0.000001"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the second model did against the first, on the same pictures.

    Attributes:
        n: pictures that both scored.
        first, second: accuracies.
        difference: second minus first; `low` and `high` are its 95 % interval (paired bootstrap; where the two name
            all pictures alike, what so many allow).
        only_first, only_second: pictures that only this one named right.
        p: two-sided exact McNemar test.
        verdict: of the second model: "better", "worse" or "not distinguishable".
        more: further pictures after which a difference of this size would show in 4 of 5 such comparisons; 0 when it
            shows already, and None when no difference was seen at all, so that no number of pictures can be named.
    """

    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    only_first: int
    only_second: int
    p: float
    verdict: Verdict
    more: int | None

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def sentence(self, first: str, second: str) -> str:
        """The verdict in plain words."""
        gap = f"{abs(self.difference) * 100:.2f} points"
        span = f"{self.low * 100:+.2f} to {self.high * 100:+.2f}"
        if self.verdict != "not distinguishable":
            return (
                f"{second} is {self.verdict} than {first} by {gap} (95 % interval {span}, {p_words(self.p)}, "
                f"{self.n:,} pictures)."
            )
        if self.more is None:
            return f"{second} and {first} made equally many mistakes on these {self.n:,} pictures."
        unlike = self.low > 0 or self.high < 0  # resampled pictures show less of chance than p where few differ
        decides = ", and p decides" if unlike else ""
        return (
            f"{second} and {first} cannot be told apart with these {self.n:,} pictures (difference {span} points, "
            f"{p_words(self.p)}{decides}); about {_about(self.more):,} more would show a difference of {gap}."
        )


def _about(count: int) -> int:
    """To two digits, upwards: more would promise what an estimate cannot keep."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


def none_of(n: int) -> float:
    """The largest share that n pictures, none of which shows it, allow with 97.5 % (Clopper and Pearson, 1934)."""
    return float(1 - 0.025 ** (1 / n))


def compare(first: Evaluation, second: Evaluation, *, seed: int = 0) -> Comparison:
    """Compare two models that scored the same pictures; the order of the ids does not matter.

    Source: Q. McNemar, 1947, in its exact binomial form; pictures that both or neither named right say nothing about
    the difference. `more` after R. J. Connor, "Sample size for testing differences in proportions for the
    paired-sample design", 1987, taking the shares seen here for true.

    Raises:
        DataError: the two did not score the same pictures with the same labels.
    """
    from scipy.stats import binomtest

    order = _matching(first, second)
    right_first, right_second = first.correct, second.correct[order]
    n = first.n
    only_first = int((right_first & ~right_second).sum())
    only_second = int((~right_first & right_second).sum())
    discordant = only_first + only_second
    p = float(binomtest(only_second, discordant, 0.5).pvalue) if discordant else 1.0
    verdict: Verdict = "not distinguishable"
    if p <= LEVEL:
        verdict = "better" if only_second > only_first else "worse"
    # Resampling n pictures and averaging their -1, 0 or +1 is drawing the three counts from a multinomial: the same
    # distribution, without an array of DRAWS x n.
    shares = np.array([only_first, only_second, n - discordant]) / n
    counts = np.random.default_rng(seed).multinomial(n, shares, size=DRAWS)  # int64[DRAWS, 3]
    low, high = np.quantile((counts[:, 1] - counts[:, 0]) / n, [0.025, 0.975])
    if not discordant:  # resampling what agrees knows nothing else; so many may differ of which n pictures show none
        low, high = -none_of(n), none_of(n)
    return Comparison(
        n=n,
        first=float(right_first.mean()),
        second=float(right_second.mean()),
        difference=(only_second - only_first) / n,
        low=float(low),
        high=float(high),
        only_first=only_first,
        only_second=only_second,
        p=p,
        verdict=verdict,
        more=0 if p <= LEVEL else _more(n, only_first, only_second),
    )


def _more(n: int, only_first: int, only_second: int) -> int | None:
    if only_first == only_second:
        return None
    from scipy.stats import norm

    discordant, difference = (only_first + only_second) / n, abs(only_second - only_first) / n
    alpha, beta = float(norm.ppf(1 - LEVEL / 2)), float(norm.ppf(POWER))
    spread = max(discordant - difference**2, 0.0)
    needed = (alpha * math.sqrt(discordant) + beta * math.sqrt(spread)) ** 2 / difference**2
    return max(1, math.ceil(needed) - n)


def _matching(first: Evaluation, second: Evaluation) -> list[int]:
    """Rows of `second` in the order of `first`."""
    place = {id: row for row, id in enumerate(second.ids)}
    shared = sum(id in place for id in first.ids)
    if shared != first.n or shared != second.n:
        raise DataError(
            f"The two models did not score the same pictures: {first.n} and {second.n}, of which {shared} are shared.",
            "evaluations of the same split of the same data",
            "train both on the same source with the same seed of the split, or evaluate both on one source with "
            "`lightmeter evaluate BUNDLE SOURCE`.",
        )
    order = [place[id] for id in first.ids]
    # Compared by name, so that a run whose classes stand in another order is not taken for one with other labels.
    own = np.array(first.classes, object)[first.labels]
    other = np.array(second.classes, object)[second.labels[order]]
    differ = int((own != other).sum())
    if differ:
        raise DataError(
            f"{differ} of {first.n} pictures carry another label in the second evaluation.",
            "the same labels in both",
            "evaluate both models on one source.",
        )
    return order

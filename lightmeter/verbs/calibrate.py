"""calibrate: validation logits to a temperature and to the confidence below which a prediction should abstain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.evaluation import Evaluation, log_softmax

_RANGE = (0.05, 20.0)  # temperatures that are searched


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the validation split says about probabilities. All of it is fitted there, so it looks a little too good.

    Attributes:
        n: validation pictures.
        temperature: logits are divided by it before the softmax.
        abstain_below: a prediction less confident than this should abstain.
        target_error: the error among the kept predictions that `abstain_below` aims at.
        reached: whether the validation pictures are enough to show that error; if not, `abstain_below` is the
            confidence with the smallest error that they can show.
        kept: share of the validation pictures at or above `abstain_below`.
        kept_error: error among those.
        ece_before, ece_after: expected calibration error with temperature 1 and with `temperature`.
        loss_before, loss_after: mean cross-entropy in nats, the same.
    """

    n: int
    temperature: float
    abstain_below: float
    target_error: float
    reached: bool
    kept: float
    kept_error: float
    ece_before: float
    ece_after: float
    loss_before: float
    loss_after: float

    def document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def calibrate(val: Evaluation, *, ceiling: float = 0.05, share: float = 0.5) -> Calibration:
    """Fit the temperature and the abstain threshold on the validation split.

    The target error is `ceiling`, or `share` of the validation error where that is less.

    Source: C. Guo et al., "On calibration of modern neural networks", 2017, for the temperature. We add a weak prior
    (log temperature normal about 0 with deviation 1), worth about one picture: a model without a mistake on a small
    validation split would otherwise be driven to certainty.
    """
    assert val.split != "test", "the test split is never used to fit anything"
    raw = Evaluation(val.ids, val.logits, val.labels, val.classes, val.split, 1.0)
    temperature = fit_temperature(val.logits, val.labels)
    scaled = Evaluation(val.ids, val.logits, val.labels, val.classes, val.split, temperature)
    target = min(ceiling, share * (1 - val.accuracy))
    threshold, reached = abstain_threshold(scaled.confidence, scaled.correct, target)
    kept = scaled.confidence >= threshold
    return Calibration(
        n=val.n,
        temperature=temperature,
        abstain_below=threshold,
        target_error=target,
        reached=reached,
        kept=float(kept.mean()),
        kept_error=float(1 - scaled.correct[kept].mean()),
        ece_before=raw.ece,
        ece_after=scaled.ece,
        loss_before=raw.loss,
        loss_after=scaled.loss,
    )


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature with the smallest total cross-entropy plus (log temperature)^2 / 2, within 0.05 to 20."""
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def cost(log_temperature: float) -> float:
        nats = -log_softmax(logits, float(np.exp(log_temperature)))[rows, labels].sum()
        return float(nats) + log_temperature**2 / 2

    low, high = np.log(_RANGE)
    found = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def abstain_threshold(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], target_error: float
) -> tuple[float, bool]:
    """The smallest confidence at or above which the error is at most `target_error`, and whether there is one.

    The error of k mistakes among m kept pictures is taken as (k + 1) / (m + 2) (Laplace's rule), so that a handful of
    lucky pictures shows nothing. Where no threshold reaches the target, the one with the smallest such error.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.append(ranked[1:] < ranked[:-1], True)  # a threshold cannot part pictures of equal confidence
    mistakes = np.cumsum(~correct[order])[last]
    kept = np.arange(1, len(ranked) + 1)[last]
    error = (mistakes + 1) / (kept + 2)
    good = np.flatnonzero(error <= target_error)
    place = good[-1] if len(good) else len(error) - 1 - int(np.argmin(error[::-1]))
    return float(ranked[last][place]), bool(len(good))

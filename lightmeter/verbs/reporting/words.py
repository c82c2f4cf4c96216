"""Numbers as people write them, the verdict in one sentence, and the glossary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a command that writes one percentage does not wait for them
    from lightmeter.nouns.evaluation import Evaluation

THIN = "\u202f"  # a narrow space that does not break, between a number and its unit


def percent(share: float, digits: int = 1) -> str:
    """0.9778 -> "97.8 %"; what is not whole is never rounded to 0 or 100."""
    value = 100 * share
    text = f"{value:.{digits}f}"
    if value < 100 and float(text) == 100:
        text = f"{100 - 10.0**-digits:.{digits}f}"
    if value > 0 and float(text) == 0:
        text = f"{10.0**-digits:.{digits}f}"
    return f"{text}{THIN}%"


def span(low: float, high: float, digits: int = 1) -> str:
    """An interval of shares: "95.6 to 98.9 %"; its ends are rounded outwards."""
    scale = 10.0**digits * 100
    start, end = math.floor(low * scale + 1e-9) / scale, math.ceil(high * scale - 1e-9) / scale
    return f"{100 * start:.{digits}f} to {100 * end:.{digits}f}{THIN}%"


def count(number: float) -> str:
    """12345 -> "12,345"."""
    return f"{number:,.0f}"


def epochs(records: Sequence[Mapping[str, Any]]) -> str:
    """How many epochs were run, a last one that was cut short by its part."""
    from lightmeter.nouns.run import passes

    seen = passes(records)
    return f"{seen:g} epoch{'s' * (seen != 1)}"


def many(number: int, one: str, more: str | None = None) -> str:
    """(1, "picture") -> "1 picture", (3, "picture") -> "3 pictures"."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def duration(seconds: float) -> str:
    """588 -> "9 min 48 s"."""
    if seconds < 9.95:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes}{THIN}min" + (f" {rest}{THIN}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{THIN}h" + (f" {minutes}{THIN}min" if minutes else "")


def listed(words: Sequence[str]) -> str:
    """("a", "b", "c") -> "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def short(name: str, length: int = 18) -> str:
    """A name that fits a plot; its middle gives way, since names often differ at their ends."""
    if len(name) <= length:
        return name
    tail = length // 3
    return f"{name[: length - tail - 1]}…{name[-tail:]}"


def verdict(e: Evaluation, past: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """How good the model is: one plain sentence, and the range in which the truth lies.

    Counted in 1,000 where the interval is narrower than two points, else in 100; the range is rounded outwards.

    Args:
        past: the scores by what the model had seen (`Contamination.summary`): where it had seen some of the pictures,
            the sentence, which is about new ones, is of those it had not.
    """
    accuracy, (low, high) = e.accuracy, e.interval
    if past is not None and past["contaminated"]["n"] and past["clean"]["n"]:
        accuracy, low, high = (past["clean"][name] for name in ("accuracy", "low", "high"))
    scale = 100 if high - low >= 0.02 else 1000
    about = round(accuracy * scale)
    if accuracy < 1:
        about = min(about, scale - 1)
    least, most = math.floor(low * scale + 1e-9), math.ceil(high * scale - 1e-9)
    sentence = f"Of {scale:,} new pictures like these, about {about:,} will be named right"
    return sentence, f"between {least:,} and {most:,}, with 95{THIN}% confidence"


GLOSSARY = {
    "Accuracy": "The share of pictures that were named right.",
    "95 % interval": (
        "The range that holds the true value in 95 of 100 such measurements; more pictures make it narrower. It "
        "takes the pictures as independent of each other."
    ),
    "Training pictures": "The pictures that the model learned from.",
    "Validation pictures": (
        "Pictures kept aside to choose the best moment of training and to set the probabilities; their scores "
        "look a little too good."
    ),
    "Test pictures": (
        "Pictures that nothing was learned or chosen from. They are opened to measure, and each opening is recorded."
    ),
    "Epoch": "One pass over all training pictures.",
    "Loss (cross-entropy)": (
        "The number that training makes smaller: the mean of minus the logarithm of the probability given to the "
        "right class. A confident mistake costs most."
    ),
    "Learning rate": "How large a step each update of the model takes.",
    "Recall": "Of all pictures of a class, the share that was found.",
    "Precision": "Of all pictures given a class's name, the share that deserved it.",
    "F1": "One number for both: the harmonic mean of precision and recall.",
    "Micro, macro and weighted mean": (
        "Over all pictures alike, over all classes alike, and over classes by their number of pictures."
    ),
    "Top-5 accuracy": "The share of pictures whose right name is among the five most probable.",
    "Confusion matrix": "For each true class, how often it was given each name.",
    "Calibration": (
        "Whether probabilities mean what they say: of the predictions made with 80 %, 80 in 100 should be right."
    ),
    "Expected calibration error (ECE)": (
        "How far stated probability and share of right answers lie apart, on average over 15 equal ranges of "
        "probability."
    ),
    "Temperature": (
        "One number, fitted on the validation pictures, that makes all probabilities bolder or more careful "
        "without changing any answer."
    ),
    "Abstaining": "Giving no answer when the probability is below a threshold, so that a person can look.",
    "Leak": "A test picture that stands among the training pictures too, which makes a model look better than it is.",
    "Recipe": "Everything that decides what is computed: model, image size, augmentation, optimizer, schedule, seed.",
    "Bundle": "The finished model in one folder, with its own image reader, class names and self-test.",
}
"""Each term of the report in a sentence."""

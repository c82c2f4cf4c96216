"""An Evaluation: ids, logits and labels of one model on one named split, and every number that follows from them."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightmeter.errors import DataError, FormatError, TrainingError
from lightmeter.nouns.files import write_atomic

FORMAT = 1
BINS = 15
"""Equal-width bins of confidence, closed on the right, for the reliability diagram and the ECE."""

_Z = 1.959963984540054  # the normal distribution's 97.5 % point


def wilson(successes: ArrayLike, n: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of a proportion, low and high; 0 and 1 where n is 0.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. It is sound
    near 0 and 1 and for small n, where the usual plus-minus interval is not. It takes the pictures as independent.
    """
    k, total = np.asarray(successes, np.float64), np.asarray(n, np.float64)
    safe = np.where(total > 0, total, 1.0)
    share = k / safe
    scale = 1 + _Z**2 / safe
    centre = (share + _Z**2 / (2 * safe)) / scale
    half = _Z / scale * np.sqrt(share * (1 - share) / safe + _Z**2 / (4 * safe**2))
    low = np.where((total == 0) | (k == 0), 0.0, np.clip(centre - half, 0, 1))  # rounding must not move 0 and 1
    high = np.where((total == 0) | (k == total), 1.0, np.clip(centre + half, 0, 1))
    return low, high


def log_softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-probabilities float64[N, K] of `logits / temperature`, safe for logits of any size."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one model said about one split.

    Probabilities are softmax(logits / temperature): with the temperature of a calibrated model they, the loss and
    the ECE are those of the calibrated model; with temperature 1 they are the raw ones. A prediction is the class of
    the largest logit (the first of equals), which no temperature changes.

    Attributes:
        ids: unique item names.
        logits: float32[N, K], finite.
        labels: int64[N], indices into `classes`.
        classes: class names.
        split: "train", "val", "test" or a name for other data.
        temperature: of the probabilities.

    Raises:
        DataError: no item, an id that stands there twice, or a label without a class.
        TrainingError: a logit that is not finite.
    """

    ids: tuple[str, ...]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    split: str
    temperature: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.ids)
        if not n:
            raise DataError(f"There is no picture to score in {self.split!r}.", "at least one")
        if len(set(self.ids)) != n:
            seen: set[str] = set()
            twice = next(id for id in self.ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
            raise DataError(
                f"{n - len(set(self.ids))} of {n} ids in {self.split!r} stand there more than once, such as {twice!r}.",
                "every picture scored exactly once",
            )
        assert self.logits.shape == (n, len(self.classes)), f"logits {self.logits.shape}, {n} x {len(self.classes)}"
        assert self.logits.dtype == np.float32 and self.labels.dtype == np.int64
        assert self.labels.shape == (n,) and self.temperature > 0
        if not (int(self.labels.min()) >= 0 and int(self.labels.max()) < len(self.classes)):
            raise DataError(f"A label in {self.split!r} is outside the {len(self.classes)} classes.")
        finite = np.isfinite(self.logits).all(axis=1)
        if not finite.all():
            raise TrainingError(
                f"The model gave no finite score for {n - int(finite.sum())} of {n} pictures in {self.split!r}, "
                f"such as {self.ids[int(np.argmin(finite))]!r}.",
                "finite logits",
                "train with a lower learning rate, for instance --set optimizer.lr=... a third of what it was.",
            )

    # -- of each picture --------------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """How many pictures were scored."""
        return len(self.ids)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the predicted class, int64[N]."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each picture was named right, bool[N]."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """softmax(logits / temperature), float64[N, K]."""
        return np.exp(log_softmax(self.logits, self.temperature))

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the predicted class, float64[N]."""
        return self.probabilities[np.arange(self.n), self.predicted]

    # -- of all pictures --------------------------------------------------------------------------------------------

    @property
    def accuracy(self) -> float:
        """Share of pictures named right."""
        return float(self.correct.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the accuracy."""
        low, high = wilson(self.correct.sum(), self.n)
        return float(low), float(high)

    @property
    def top5(self) -> float:
        """Share of pictures whose label is among the 5 largest logits (of equals, the first classes count)."""
        own = self.logits[np.arange(self.n), self.labels][:, None]
        before = (self.logits == own) & (np.arange(len(self.classes)) < self.labels[:, None])
        rank = (self.logits > own).sum(axis=1) + before.sum(axis=1)
        return float((rank < 5).mean())

    @cached_property
    def loss(self) -> float:
        """Mean cross-entropy in nats, of the temperature-scaled probabilities."""
        return float(-log_softmax(self.logits, self.temperature)[np.arange(self.n), self.labels].mean())

    @cached_property
    def reliability(self) -> dict[str, NDArray[np.float64]]:
        """Per bin of confidence: "edges" [16], "count", mean "confidence", "accuracy", its "low" and "high" [15]."""
        edges = np.linspace(0, 1, BINS + 1)
        place = np.clip(np.searchsorted(edges, self.confidence, side="left") - 1, 0, BINS - 1)
        count = np.bincount(place, minlength=BINS).astype(np.float64)
        right = np.bincount(place, weights=self.correct, minlength=BINS)
        mass = np.bincount(place, weights=self.confidence, minlength=BINS)
        safe = np.maximum(count, 1)
        low, high = wilson(right, count)
        shares = {"confidence": mass / safe, "accuracy": right / safe}
        return {"edges": edges, "count": count, **shares, "low": low, "high": high}

    @property
    def ece(self) -> float:
        """Expected calibration error over 15 equal-width bins of the temperature-scaled confidence."""
        bins = self.reliability
        return float((bins["count"] * np.abs(bins["accuracy"] - bins["confidence"])).sum() / self.n)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """int64[K, K]: pictures of the row's class that were named the column's."""
        k = len(self.classes)
        return np.bincount(self.labels * k + self.predicted, minlength=k * k).reshape(k, k).astype(np.int64)

    @cached_property
    def per_class(self) -> list[dict[str, float]]:
        """Per class "precision", "recall", "f1", "support", and the recall's Wilson interval "low", "high".

        A share of nothing is 0, as scikit-learn has it with zero_division=0.
        """
        hits, support, named = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        precision, recall = _share(hits, named), _share(hits, support)
        f1 = _share(2 * hits, support + named)
        low, high = wilson(hits, support)
        columns = zip(precision, recall, f1, support, low, high, strict=True)
        names = ("precision", "recall", "f1", "support", "low", "high")
        rows = [dict(zip(names, (float(value) for value in row), strict=True)) for row in columns]
        return [{**row, "support": int(row["support"])} for row in rows]

    @property
    def averages(self) -> dict[str, dict[str, float]]:
        """The "micro", "macro" and "weighted" means of precision, recall and F1 over all classes, with the support."""
        table = {name: np.array([row[name] for row in self.per_class]) for name in ("precision", "recall", "f1")}
        support = np.array([row["support"] for row in self.per_class])
        return {
            "micro": {**dict.fromkeys(table, self.accuracy), "support": self.n},
            "macro": {**{name: float(column.mean()) for name, column in table.items()}, "support": self.n},
            "weighted": {
                **{name: float((column * support).sum() / self.n) for name, column in table.items()},
                "support": self.n,
            },
        }

    def classification_report(self, digits: int = 2) -> str:
        """The text that scikit-learn prints, over all classes."""
        from sklearn.metrics import classification_report  # takes half a second to import

        text: str = classification_report(
            self.labels,
            self.predicted,
            labels=np.arange(len(self.classes)),
            target_names=list(self.classes),
            digits=digits,
            zero_division=0,
        )
        return text

    # -- which pictures to look at ----------------------------------------------------------------------------------

    def worst_mistakes(self, limit: int) -> NDArray[np.int64]:
        """Rows of the wrong predictions, most confident first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:limit]

    def least_certain(self, limit: int) -> NDArray[np.int64]:
        """Rows with the smallest confidence, least first, right or wrong."""
        return np.argsort(self.confidence, kind="stable")[:limit].astype(np.int64)

    def confusions(self, limit: int) -> list[tuple[int, int, int]]:
        """The most frequent mistakes as (label, predicted, count), most frequent first."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        pairs = [divmod(int(place), len(self.classes)) for place in order]
        return [(label, named, int(wrong[label, named])) for label, named in pairs if wrong[label, named]]

    # -- as documents and files -------------------------------------------------------------------------------------

    def summary(self) -> dict[str, float]:
        """{"n", "accuracy", "low", "high", "top5", "loss", "ece"}; loss and ece of the calibrated probabilities."""
        low, high = self.interval
        score = {"n": self.n, "accuracy": self.accuracy, "low": low, "high": high}
        return {**score, "top5": self.top5, "loss": self.loss, "ece": self.ece}

    def save(self, path: Path) -> None:
        """Write an .npz without objects, atomically. Raises StorageError."""
        card = {
            "format": FORMAT,
            "split": self.split,
            "temperature": self.temperature,
            "classes": self.classes,
            "ids": self.ids,
        }
        text = np.frombuffer(json.dumps(card).encode(), np.uint8)  # JSON keeps every string; a unicode array pads
        stream = io.BytesIO()
        np.savez(stream, card=text, logits=self.logits, labels=self.labels)
        write_atomic(path, stream.getvalue())

    @staticmethod
    def load(path: Path) -> Evaluation:
        """Read what `save` wrote. Raises FormatError where it is not that."""
        expected = "an evaluation written by Lightmeter"
        try:
            content = path.read_bytes()  # np.load forgets to close a file that is no zip
            with zipfile.ZipFile(io.BytesIO(content)):
                pass
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                card = json.loads(arrays["card"].tobytes())
                logits, labels = arrays["logits"], arrays["labels"]
        except FileNotFoundError as error:
            raise FormatError(f"{path} does not exist.", expected) from error
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise FormatError(f"{path} is not an evaluation ({error}).", expected) from error
        number = card.get("format")
        if number != FORMAT:
            raise FormatError(
                f"{path} is an evaluation of format {number}.",
                f"format {FORMAT}, which this version reads",
                "upgrade Lightmeter (pip install --upgrade lightmeter); `lightmeter doctor` shows your version.",
            )
        classes, ids = tuple(card["classes"]), tuple(card["ids"])
        return Evaluation(ids, logits, labels, classes, card["split"], card["temperature"])


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)

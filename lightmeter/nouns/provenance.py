"""What a model has seen, and for each picture that it is tested on: clean, contaminated or unknown, and why.

Public training sets are known by the names of their files (`RULES`), a user's own by their hashes (`Seen`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.evaluation import wilson

FORMAT = 1
IMAGENET = "imagenet-1k/train"
"""The 1,281,167 training pictures of ImageNet-1k (ILSVRC 2012)."""

Verdict = Literal["clean", "contaminated", "unknown"]
VERDICTS: tuple[Verdict, ...] = ("clean", "contaminated", "unknown")

COPY = "a copy of a picture that it learned from"
NEAR_DUPLICATE = "a near duplicate of a picture that it learned from"
NO_TWIN = "like no picture that it learned from"
TOO_PLAIN = "too plain to be compared with what it learned from"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a picture's origin says about its being in one public training set.

    Attributes:
        verdict: "contaminated" where it was in it, "clean" where it was not.
        why: in words.
        source: kind of source that this is about, as in `SOURCES`; "" is any.
        pattern: regular expression that is searched for in the picture's id.
        name: name of the data set that this is about; "" is any.
    """

    verdict: Verdict
    why: str
    source: str = ""
    pattern: str = ""
    name: str = ""

    def holds(self, source: str, name: str, id: str) -> bool:
        """Whether it is about this picture."""
        return self.source in ("", source) and self.name in ("", name) and re.search(self.pattern, id) is not None


RULES: dict[str, tuple[Rule, ...]] = {
    IMAGENET: (
        # ImageNet has 50 validation pictures of a class, and Tiny ImageNet, which is drawn from ImageNet and has its
        # own numbers in ImageNet's style, has 500 training pictures of one: at least 450 are training pictures there.
        Rule("contaminated", "in Tiny ImageNet's train, nine tenths of it ImageNet's", "tiny_imagenet", "^train/"),
        Rule("unknown", "from ImageNet, its owner does not say from which part", "tiny_imagenet"),
        Rule("unknown", "from the web, as ImageNet's, and not compared with them", "cifar"),
        # Inferred, not compared: scanned forms of 1996, and a shop's own product photographs, published in 2017.
        Rule("clean", "scanned digits, which ImageNet has none of", "digits"),
        Rule("clean", "a shop's own photographs, published after ImageNet's", "idx", name="fashion-mnist"),
        Rule("contaminated", "named as ImageNet's training pictures are", pattern=r"(?:^|/)n\d{8}_\d+\."),
        Rule("clean", "named as ImageNet's held-out pictures are", pattern=r"(?:^|/)ILSVRC2012_(?:val|test)_\d{8}\."),
        Rule("unknown", "its name does not say whether ImageNet's training pictures hold it"),
    ),
}
"""For each public training set its rules; the first that holds counts. The last holds for every picture.

Sources: the file lists of ILSVRC 2012; the README of https://github.com/fastai/imagenette for its split; Krizhevsky,
Learning Multiple Layers of Features from Tiny Images, 2009; Xiao et al., Fashion-MNIST, 2017.
"""


def by_name(public: str, source: str, name: str, ids: Iterable[str]) -> list[tuple[Verdict, str]]:
    """For each id, whether the public training set holds it, and why that is thought.

    Args:
        public: a key of `RULES`; of any other set nothing is known.
        source: kind of the source that the ids are of, as in `SOURCES`.
        name: of the data set.
    """
    rules = RULES.get(public)
    if rules is None:
        return [("unknown", f"nothing is known of the pictures of {public}") for _ in ids]
    found = (next(rule for rule in rules if rule.holds(source, name, id)) for id in ids)
    return [(rule.verdict, rule.why) for rule in found]


def unknown_past(missing: Sequence[str]) -> str:
    """The reason why a picture is unknown where nothing is known of some of what a model comes from."""
    return f"what {' and '.join(name if '@' in name else name[:16] for name in missing)} learned from is not known here"


def gravest(judged: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
    """What several judgements of one picture come to: seen by one is seen; clean is only what is clean for all."""
    order: tuple[Verdict, ...] = ("contaminated", "unknown", "clean")
    return min(judged, key=lambda one: order.index(one[0]))


@dataclass(frozen=True, slots=True)
class Contamination:
    """The judgement of every picture of a test.

    Attributes:
        ids: of the pictures.
        verdicts, whys: for each its verdict and the reason in words.
        seen: what the model has learned from, in words or by public name.
        pairs: (id, id of the picture learned from) of some contaminated ones, to look at.
    """

    ids: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    whys: tuple[str, ...]
    seen: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()

    def summary(self, ids: Sequence[str], correct: NDArray[np.bool_]) -> dict[str, Any]:
        """The accuracy on each kind: {"clean": {"n", "accuracy", "low", "high"}, ..., "why", "seen", "pairs"}.

        Args:
            ids: of the scored pictures, in any order.
            correct: whether each was named right.

        Where a kind has no picture, its accuracy and interval are None. "why" counts reasons, the most frequent first.
        """
        verdict_of = dict(zip(self.ids, self.verdicts, strict=True))
        given = np.array([verdict_of[id] for id in ids])
        parts: dict[str, Any] = {}
        for verdict in VERDICTS:
            rows = correct[given == verdict]
            low, high = wilson(rows.sum(), len(rows))
            values = (float(rows.mean()), float(low), float(high)) if len(rows) else (None, None, None)
            parts[verdict] = {"n": len(rows), **dict(zip(("accuracy", "low", "high"), values, strict=True))}
        parts["why"] = dict(Counter(self.whys).most_common())
        return {**parts, "seen": list(self.seen), "pairs": [list(pair) for pair in self.pairs]}

    def document(self) -> dict[str, Any]:
        """As plain JSON values, with its format number: ids by verdict and reason."""
        groups: dict[tuple[str, str], list[str]] = {}
        for id, verdict, why in zip(self.ids, self.verdicts, self.whys, strict=True):
            groups.setdefault((verdict, why), []).append(id)
        return {
            "format": FORMAT,
            "seen": list(self.seen),
            "pairs": [list(pair) for pair in self.pairs],
            "groups": [{"verdict": verdict, "why": why, "ids": ids} for (verdict, why), ids in groups.items()],
        }

    @staticmethod
    def parse(document: dict[str, Any]) -> Contamination:
        """Read what `document` gave."""
        rows = [(id, group["verdict"], group["why"]) for group in document["groups"] for id in group["ids"]]
        ids, verdicts, whys = zip(*rows, strict=True) if rows else ((), (), ())
        pairs = tuple((first, second) for first, second in document["pairs"])
        return Contamination(ids, verdicts, whys, tuple(document["seen"]), pairs)

"""A study of a second or two: small networks on the digits, which need no files."""

from __future__ import annotations

import itertools

from lightmeter.nouns.recipe import ModelChoice, Optimizer, Recipe
from lightmeter.recipes import Facts
from lightmeter.studies.base import Arm, MakeRecipe, Pictures, Scale, Study

DIGITS = Pictures("digits", size=8, channels=1, train_limit=300, test_limit=120)


def small(
    *, width: float = 0.25, lr: float = 3e-3, freeze: tuple[str, ...] = (), model: str = "whitened"
) -> MakeRecipe:
    """A narrow network and AdamW."""

    def make(facts: Facts, epochs: float) -> Recipe:
        return Recipe(
            model=ModelChoice(name=model, width=width),
            preprocess=facts.preprocess,
            optimizer=Optimizer(name="adamw", lr=lr, bias_lr=lr, head_lr=lr),
            epochs=epochs,
            batch_size=32,
            seed=facts.seed,
            freeze=freeze,
        )

    return make


ARMS = (
    Arm("slow", "faithful", DIGITS, small(lr=1e-5), epochs=1.0, published=0.5, note="Hardly learns."),
    Arm("base", "variant", DIGITS, small(), epochs=3.0, note="Learns."),
    Arm("tuned", "ours", DIGITS, small(lr=1e-3), epochs=2.0, start="arm:base", note="Goes on from base."),
)


def toy(*arms: Arm, seeds: tuple[int, ...] = (0, 1), **changes: object) -> Study:
    """The arms above, or those given."""
    taken = arms or ARMS
    names = [arm.name for arm in taken]
    settings: dict[str, object] = {
        "name": "toy",
        "title": "Digits, small networks",
        "question": "Does learning help?",
        "published": {"test accuracy": "50 %"},
        "arms": lambda scale: taken,
        "pairs": tuple(itertools.pairwise(names)),
        "seeds": dict.fromkeys(("smoke", "cpu", "full"), seeds),
        "left_out": {"smoke": "everything that matters."},
        "curve": tuple(names),
        **changes,
    }
    return Study(**settings)  # type: ignore[arg-type]


SMOKE: Scale = "smoke"

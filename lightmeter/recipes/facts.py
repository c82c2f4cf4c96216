"""What a recipe may know of the data and the plan before it decides."""

from __future__ import annotations

from dataclasses import dataclass

from lightmeter.nouns.preprocess import Preprocess


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers that recipes are functions of.

    Attributes:
        n: training images.
        num_classes: K.
        preprocess: the canvases that the data were packed to.
        mirror: whether a mirrored picture still shows its class, as measured on training images.
        seed: of everything that is drawn.
    """

    n: int
    num_classes: int
    preprocess: Preprocess
    mirror: bool
    seed: int

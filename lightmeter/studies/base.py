"""What a study is made of: arms, the pictures they learn from, and how much of each a scale does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes import Facts

Role = Literal["faithful", "ours", "variant"]
"""Of an arm: the published architecture and settings; our best recipe; or a step between them."""

Scale = Literal["smoke", "cpu", "full"]
"""Under a minute, for tests; at most 30 minutes on two cores; the published size."""

MakeRecipe = Callable[[Facts, float], Recipe]
"""(facts, epochs) -> what an arm computes."""


FROM_ARM = "arm:"
"""How an arm names another as its start weights."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Which pictures an arm learns from and is tested on. Equal Pictures of one seed are the same pictures.

    Attributes:
        source: a named data set, or any source that `train` takes.
        size: side of the canvases in pixels.
        channels: 1 or 3.
        classes: only these; all where empty.
        test_share: share of the source's training part that is drawn, class by class, as the test split, the source's
            own held-out part being left aside; 0 tests on that held-out part.
        train_limit: pictures to learn from at most, drawn evenly from every class; 0 is all.
        test_limit: pictures to test on at most, likewise.
    """

    source: str
    size: int
    channels: int = 3
    classes: tuple[str, ...] = ()
    test_share: float = 0.0
    train_limit: int = 0
    test_limit: int = 0


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of doing it, which is trained once per seed.

    Attributes:
        name: short, unique in its study, fit for a file name.
        role: see `Role`.
        pictures: what it learns from.
        recipe: what it computes.
        epochs: to train for; 0 trains for as many as `seconds` leave time for, measured once and then kept for
            every seed, so that a study that is run again computes the same.
        seconds: of training, where `epochs` is 0.
        start: "" for random weights; "arm:NAME" for those of that arm with the same seed; else what `--start` takes.
        best_of: names of earlier arms; not empty, this arm takes over the recipe function of that one among them whose
            best validation accuracy was highest under the same seed (of equals the first), and trains it anew for its
            own `epochs` or `seconds`. Its own `recipe` is that of the first of them, and is not used. What it computes,
            and so its parameter counts, is not known before the others are done.
        published: test accuracy (0..1) that was published for it, where one was.
        note: a sentence on what it is.
    """

    name: str
    role: Role
    pictures: Pictures
    recipe: MakeRecipe
    epochs: float = 0.0
    seconds: float = 0.0
    start: str = ""
    best_of: tuple[str, ...] = ()
    published: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Study:
    """A question, the arms that answer it, and what was published.

    Attributes:
        name: in `STUDIES`.
        title: a line for the page.
        question: a sentence or two: what was found before, and what is asked here.
        published: label -> figure as it was published, for the page ("test accuracy" -> "90 %").
        arms: at each scale.
        pairs: names (first, second) of the arms whose difference is judged, in the order of the page.
        seeds: at each scale.
        left_out: at each scale, what it leaves out of the published experiment; "" where nothing.
        curve: names of arms, in order of growing cost, among which the point is sought where more stops paying; empty
            where there is no such order.
        rows_every: at each scale, epochs between two rows of a table (epoch, seconds so far, training and validation
            accuracy) that is read off each arm's epochs, in which the point is sought where more epochs stop paying,
            and from which the price of the next tenth of a point follows; 0 for no such table.
        any_source: whether `--source` may put other pictures in the place of the study's. Their side and channels are
            then those that `train` would choose, and the published figures do not belong to them.
    """

    name: str
    title: str
    question: str
    published: Mapping[str, str]
    arms: Callable[[Scale], tuple[Arm, ...]]
    pairs: tuple[tuple[str, str], ...]
    seeds: Mapping[Scale, tuple[int, ...]]
    left_out: Mapping[Scale, str]
    curve: tuple[str, ...] = ()
    rows_every: Mapping[Scale, int] = field(default_factory=dict)
    any_source: bool = False

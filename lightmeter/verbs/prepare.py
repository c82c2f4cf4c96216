"""prepare: data and a request -> a planned Training that can learn and finish."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from lightmeter.errors import BadImageError, RecipeError, WeightsError
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.parts import resolve
from lightmeter.nouns.preprocess import ImageFacts, Preprocess, describe
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Recipe, explain, lay_over
from lightmeter.nouns.run import Run
from lightmeter.nouns.split import Split
from lightmeter.recipes import RECIPES, TRANSFER, Facts
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.data import Data
from lightmeter.verbs.meter import WIDTHS, Plan, finish_seconds, meter, too_short
from lightmeter.verbs.mirror import measure_mirror
from lightmeter.verbs.start import Start, open_start
from lightmeter.verbs.training import Training

if TYPE_CHECKING:
    from lightmeter.verbs.train import Request

_LOOKED_AT = 64  # pictures whose headers tell the usual size
_SCRATCH_SIZES = (32, 48, 64, 96, 128)


def start_of(request: Request) -> Start | None:
    """The weights that were asked for, if any. Raises WeightsError, FormatError, BundleError."""
    if request.start is None:
        return None
    return open_start(request.start, builder=request.settings.get("model.name", ""))


def choose_preprocess(dataset: Dataset, request: Request, clock: Clock, start: Start | None = None) -> Preprocess:
    """Canvas size and channels: native for small pictures, else what the budget and the start weights suggest.

    Weights of our own bring their canvas with them.
    """
    facts = list(_headers(dataset))
    sides = sorted(min(fact.width, fact.height) for fact in facts)
    usual = sides[len(sides) // 2] if sides else 64
    grey = bool(facts) and all(fact.mode in ("L", "1", "I;16") for fact in facts)
    if start is not None and start.preprocess is not None:
        preprocess = start.preprocess
    elif start is not None:
        preprocess = Preprocess(size=min(224, max(96, round(usual / 32) * 32)), channels=3)
    elif usual <= 48:
        preprocess = Preprocess(size=max(8, usual), channels=1 if grey else 3)
    else:
        minutes = (clock.budget or 600.0) / 60
        wanted = 64 if minutes < 20 else 96 if minutes < 60 else 128
        size = max(side for side in _SCRATCH_SIZES if side <= min(wanted, usual))
        preprocess = Preprocess(size=size, channels=1 if grey else 3)
    settings = {name: value for name, value in request.settings.items() if name.startswith("preprocess.")}
    document = lay_over({"preprocess": preprocess.model_dump()}, settings)
    try:
        return Preprocess.model_validate(document["preprocess"])
    except ValidationError as error:
        raise explain(error) from error


def prepare(
    request: Request, run: Run, dataset: Dataset, pack: Pack, split: Split, clock: Clock, progress: Progress
) -> Training:
    """Measure and plan, or read the plan of the attempt that is resumed."""
    learning = split.learning
    data = Data(dataset, pack, learning, pack.rows(learning.train), pack.rows(learning.val))
    scored = len(split.val) + len(split.test)
    start = start_of(request)
    path = None if start is None else start.path
    if run.has("plan"):
        plan = Plan.parse(run.read("plan"), run.recipe)
        if start is not None and start.identity != plan.recipe.start:
            raise WeightsError(
                f"This run began from {plan.recipe.start}, and {request.start} is {start.identity} now.",
                "the same weights",
                "put them back, or start a new run with another --out.",
            )
        return Training(run, data, plan, path, scored, clock, progress)
    plan = choose(request, data, scored, clock, progress, start)
    run.write("recipe", {"key": plan.recipe.key(), "recipe": plan.recipe.document()})
    run.write("plan", {"budget": clock.budget, **plan.document(), "phases": []})
    for sentence in plan.sentences:
        progress.say(sentence)
    return Training(run, data, plan, path, scored, clock, progress)


def choose(
    request: Request, data: Data, scored: int, clock: Clock, progress: Progress, start: Start | None = None
) -> Plan:
    """From measurements to a Plan. Raises BudgetError, RecipeError, WeightsError."""
    if clock.left < finish_seconds(0, 1.0):  # no need to measure what cannot fit
        raise too_short(clock, "anything", clock.elapsed + 2 * finish_seconds(0, 1.0))
    progress.say("Measuring this machine and these pictures ...")
    sample = data.sample
    mirror = measure_mirror(data.pack.pixels[sample], data.pack.labels[sample])
    classes = len(data.dataset.classes)
    facts = Facts(len(data.train_rows), classes, data.pack.preprocess, mirror.safe, request.seed)
    settings = {name: value for name, value in request.settings.items() if not name.startswith("preprocess.")}
    transfer = start is not None
    if request.recipe != "auto":
        names: tuple[str, ...] = (request.recipe,)
    elif transfer:
        names = ("probe",) if request.freeze == ("all",) else ("finetune", "probe")
    else:
        names = ("fast",)
    if transfer != (names[0] in TRANSFER):
        raise RecipeError(
            f"The recipe {names[0]!r} was asked for {'with' if transfer else 'without'} start weights.",
            f"--start with one of {', '.join(TRANSFER)}, and no --start with the others",
        )

    def finished(made: Recipe) -> Recipe:
        """What the user asked for, laid over what the recipe says."""
        if request.freeze:
            kept = () if "all" in request.freeze else tuple(entry for entry in made.freeze if entry != "all")
            made = made.model_copy(update={"freeze": (*kept, *request.freeze)})
        return made.override(settings)

    if start is not None:
        from lightmeter.models.foreign import choice_of
        from lightmeter.verbs.transfer import plan_transfer

        begin = {"start": start.identity, "model": start.model or choice_of(start.path)}

        def maker(name: str) -> Callable[[float], Recipe]:
            function = resolve(RECIPES, name, kind="recipe")
            return lambda epochs: finished(function(facts, epochs=epochs, **begin))

        plan = plan_transfer(
            {name: maker(name) for name in names},
            start.path,
            data.pixels(2000),
            data.labels(2000),
            data.batches,
            len(data.train_rows) + len(data.val_rows),
            num_classes=classes,
            scored=scored,
            clock=clock,
            epochs=request.epochs,
        )
    else:
        scratch = resolve(RECIPES, names[0], kind="recipe")

        def make(epochs: float, width: float) -> Recipe:
            return finished(scratch(facts, epochs=epochs, width=width))

        widths = (make(1.0, 1.0).model.width,) if "model.width" in settings else WIDTHS
        plan = meter(
            make,
            data.batches,
            data.pixels(2000),
            data.labels(2000),
            num_classes=classes,
            scored=scored,
            clock=clock,
            epochs=request.epochs,
            widths=widths,
        )
    return replace(plan, sentences=(mirror.sentence, *plan.sentences))


def _headers(dataset: Dataset) -> Iterator[ImageFacts]:
    """What the headers of some pictures say, spread over the data; unreadable ones are the pack's affair.

    A part that the source holds out is not looked at, not even its headers.
    """
    held_out = next((name for name in ("test", "val") if name in dataset.splits), None)
    ids = [id for id, part in zip(dataset.ids, dataset.splits, strict=True) if part != held_out]
    for id in ids[:: max(1, len(ids) // _LOOKED_AT)]:
        with contextlib.suppress(BadImageError, OSError):
            yield describe(dataset.read(id))

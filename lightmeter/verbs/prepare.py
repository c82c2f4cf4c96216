"""prepare: data and a request -> a planned Training that can learn and finish."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lightmeter.errors import WeightsError
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.run import Run
from lightmeter.nouns.split import Split
from lightmeter.recipes import Facts
from lightmeter.recipes.curves import expected_error, nearest
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.data import Data
from lightmeter.verbs.finish import least_finish_seconds
from lightmeter.verbs.makers import recipe_makers
from lightmeter.verbs.meter import WIDTHS, meter, too_short
from lightmeter.verbs.mirror import measure_mirror
from lightmeter.verbs.plan import Plan
from lightmeter.verbs.request import Request
from lightmeter.verbs.start import Start, open_start
from lightmeter.verbs.training import Training


def start_of(request: Request) -> Start | None:
    """The weights that were asked for, if any. Raises WeightsError, FormatError, BundleError."""
    if request.start is None:
        return None
    return open_start(request.start, builder=request.settings.get("model.name", ""))


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
    if clock.left < least_finish_seconds():  # no need to measure what cannot fit
        # As long again for measuring, and with start weights for a graph that computes features.
        raise too_short(clock, "anything", clock.elapsed + (2 if start is None else 3) * least_finish_seconds())
    progress.say("Measuring this machine and these pictures ...")
    sample = data.sample
    mirror = measure_mirror(data.pack.some(sample), data.pack.labels[sample])
    classes = len(data.dataset.classes)
    facts = Facts(len(data.train_rows), classes, data.pack.preprocess, mirror.safe, request.seed)
    makers = recipe_makers(request, facts, start)
    if start is not None:
        from lightmeter.verbs.transfer import plan_transfer

        plan = plan_transfer(
            makers,
            start.path,
            data.pixels(2000),
            data.labels(2000),
            data.batches,
            len(data.train_rows) + len(data.val_rows),
            num_classes=classes,
            scored=scored,
            clock=clock,
            epochs=request.epochs,
            views_asked_for="views" in request.settings,
            progress=progress,
        )
    else:
        [scratch] = makers.values()

        def make(epochs: float, width: float) -> Recipe:
            return scratch(epochs, width=width)

        like = len(data.train_rows), classes, facts.preprocess.size
        widths = (make(1.0, 1.0).model.width,) if "model.width" in request.settings else WIDTHS
        plan = meter(
            make,
            data.batches,
            data.pixels(2000),
            data.labels(2000),
            num_classes=classes,
            scored=scored,
            clock=clock,
            epochs=request.epochs,
            progress=progress,
            promise=partial(expected_error, *like),
            widths=widths,
        )
        if clock.budget is not None and len(widths) > 1:
            plan = replace(plan, sentences=(*plan.sentences, nearest(*like).sentence()))
    return replace(plan, sentences=(mirror.sentence, *plan.sentences))

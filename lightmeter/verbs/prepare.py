"""prepare: data and a request -> a planned Training that can learn and finish."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from lightmeter.augment import compose
from lightmeter.errors import BadImageError, RecipeError
from lightmeter.models.base import Model, freeze
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.files import write_atomic
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.parts import resolve
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import ImageFacts, Preprocess, describe
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.run import Run
from lightmeter.nouns.split import Learning, Split
from lightmeter.optim.losses import class_weights_from_counts
from lightmeter.recipes import RECIPES, Facts
from lightmeter.runners import open_runner
from lightmeter.verbs.batches import Batches, FeatureBatches, PixelBatches
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.evaluate import open_test
from lightmeter.verbs.export import record_scores
from lightmeter.verbs.features import features, standardise
from lightmeter.verbs.finish import BATCH, Finisher
from lightmeter.verbs.learn import learn
from lightmeter.verbs.meter import WIDTHS, Plan, build_prepared, meter
from lightmeter.verbs.mirror import measure_mirror
from lightmeter.verbs.state import State

if TYPE_CHECKING:
    from lightmeter.verbs.train import Request

_HEAD_EPOCHS = 100.0  # of a linear head on cached features: a few seconds
_INTERIM_FROM = 120.0  # seconds of budget from which a first bundle is written early; it costs about 15
_LOOKED_AT = 64  # pictures whose headers tell the usual size
_SCRATCH_SIZES = (32, 48, 64, 96, 128, 160)


def choose_preprocess(dataset: Dataset, request: Request, clock: Clock) -> Preprocess:
    """Canvas size and channels: native for small pictures, else what the budget and the start weights suggest."""
    facts = list(_headers(dataset))
    sides = sorted(min(fact.width, fact.height) for fact in facts)
    usual = sides[len(sides) // 2] if sides else 64
    grey = bool(facts) and all(fact.mode in ("L", "1", "I;16") for fact in facts)
    if request.start is not None:
        preprocess = Preprocess(size=min(224, max(96, round(usual / 32) * 32)), channels=3)
    elif usual <= 48:
        preprocess = Preprocess(size=max(8, usual), channels=1 if grey else 3)
    else:
        minutes = (clock.budget or 600.0) / 60
        wanted = 64 if minutes < 20 else 96 if minutes < 60 else 128
        size = max(side for side in _SCRATCH_SIZES if side <= min(wanted, usual))
        preprocess = Preprocess(size=size, channels=1 if grey else 3)
    prefix = "preprocess."
    settings = {name.removeprefix(prefix): value for name, value in request.settings.items() if name.startswith(prefix)}
    if not settings:
        return preprocess
    return Preprocess.model_validate({**preprocess.model_dump(), **{k: json.loads(v) for k, v in settings.items()}})


def prepare(
    request: Request, run: Run, dataset: Dataset, pack: Pack, split: Split, clock: Clock, progress: Progress
) -> Training:
    """Measure and plan, or read the plan of the attempt that is resumed."""
    learning = split.learning
    data = Data(dataset, pack, learning, pack.rows(learning.train), pack.rows(learning.val))
    if run.has("plan"):
        return Training(run, data, Plan.parse(run.read("plan"), run.recipe), request.start, clock, progress)
    plan = choose(request, data, len(split.val) + len(split.test), clock)
    run.write("recipe", {"key": plan.recipe.key(), "recipe": plan.recipe.document()})
    run.write("plan", {"budget": clock.budget, **plan.document(), "phases": []})
    for sentence in plan.sentences:
        progress.say(sentence)
    return Training(run, data, plan, request.start, clock, progress)


@dataclass(frozen=True, slots=True)
class Data:
    """A Dataset with its Pack, and the rows to learn from. No test."""

    dataset: Dataset
    pack: Pack
    learning: Learning
    train_rows: NDArray[np.int64]
    val_rows: NDArray[np.int64]

    @property
    def sample(self) -> NDArray[np.int64]:
        """About 4,000 training rows, spread evenly and then mixed."""
        some = self.train_rows[:: max(1, len(self.train_rows) // 4000)]
        return some[np.argsort(some * 2654435761 % 2**32, kind="stable")]

    def pixels(self, count: int) -> Tensor:
        """Some training images, uint8[count, S, S, C]."""
        return torch.from_numpy(self.pack.pixels[np.sort(self.sample[:count])])

    def labels(self, count: int) -> Tensor:
        """Their labels, int64[count]."""
        return torch.from_numpy(self.pack.labels[np.sort(self.sample[:count])])

    def batches(self, recipe: Recipe) -> PixelBatches:
        """Augmented canvases, as the recipe wants them."""
        return PixelBatches(
            self.pack,
            self.train_rows,
            self.val_rows,
            self.learning.val,
            len(self.dataset.classes),
            compose(recipe.augment),
            recipe.loss.label_smoothing,
            recipe.seed,
            "cuda" if torch.cuda.is_available() else "cpu",
        )


def choose(request: Request, data: Data, scored: int, clock: Clock) -> Plan:
    """From measurements to a Plan. Raises BudgetError, RecipeError, WeightsError."""
    sample = data.sample
    mirror = measure_mirror(data.pack.pixels[sample], data.pack.labels[sample])
    classes = len(data.dataset.classes)
    facts = Facts(len(data.train_rows), classes, data.pack.preprocess, mirror.safe, request.seed)
    settings = {name: value for name, value in request.settings.items() if not name.startswith("preprocess.")}
    transfer = request.start is not None
    name = request.recipe if request.recipe != "auto" else "probe" if transfer else "fast"
    function = resolve(RECIPES, name, kind="recipe")
    if request.start is not None:
        from lightmeter.models.pretrained import architecture_of, identity
    extra = {"start": identity(request.start), "model": architecture_of(request.start)} if request.start else {}
    if transfer != (name == "probe"):
        raise RecipeError(
            f"The recipe {name!r} was asked for {'with' if transfer else 'without'} start weights.",
            "--start with the recipe probe, and no --start with the others",
        )

    def make(epochs: float, width: float) -> Recipe:
        return function(facts, epochs=epochs, width=width, **extra).override(settings)

    if request.start is not None:
        from lightmeter.verbs.transfer import plan_transfer

        learnt_from = len(data.train_rows) + len(data.val_rows)
        plan = plan_transfer(
            make,
            request.start,
            data.pixels(64),
            learnt_from,
            num_classes=classes,
            scored=scored,
            clock=clock,
            epochs=request.epochs,
        )
    else:
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


class Training:
    """A job between its plan and its tested bundle."""

    def __init__(self, run: Run, data: Data, plan: Plan, start: Path | None, clock: Clock, progress: Progress) -> None:
        self.run, self.data, self.plan, self.clock, self.progress = run, data, plan, clock, progress
        recipe = plan.recipe
        self.classes = data.dataset.classes
        self.model = build_prepared(recipe, len(self.classes), data.pixels(2000))
        summary = data.dataset.summary()
        kept = ("name", "n", "source", "official", "fingerprint")
        provenance = {**{name: summary[name] for name in kept}, "start": recipe.start}
        if start is not None:
            from lightmeter.models.pretrained import load_start

            progress.say(load_start(self.model, start).sentence)
        self.frozen = freeze(self.model, recipe.freeze) if recipe.freeze else ()
        self.module: nn.Module = self.model
        self.standard: tuple[Tensor, Tensor] | None = None
        self.provenance = provenance

    def learn(self) -> None:
        """Train to the plan's end; `self.best` then holds the best tensors."""
        recipe = self.plan.recipe
        batches: Batches
        batches = self._feature_batches() if recipe.freeze == ("all",) else self.data.batches(recipe)
        weights = None
        if recipe.loss.class_weights == "balanced":
            counts = np.bincount(self.data.pack.labels[self.data.train_rows], minlength=len(self.classes))
            weights = class_weights_from_counts(torch.from_numpy(counts))
        state = learn(
            self.module,
            batches,
            self.plan,
            run=self.run,
            classes=self.classes,
            clock=self.clock,
            progress=self.progress,
            frozen=self.frozen,
            class_weights=weights,
            first_epoch=self._interim,
        )
        self.best = state.best

    def finish(self, split: Split) -> dict[str, Any]:
        """Calibrate, export with its exam, open the test split once; returns what the result says."""
        finisher, run = self._finisher(), self.run
        module = finisher.load(self.best)
        write_atomic(run.weights, save(module.model.state_dict()))
        val, calibration = finisher.validate(module, self.progress)
        val.save(run.path / "evaluation" / "val.npz")
        exam = finisher.export(run.bundle, module, calibration, val)
        bundle = Bundle.open(run.bundle)
        opened = open_test(
            open_runner(bundle),
            self.data.pack,
            split,
            self.classes,
            ledger=run.ledger,
            by="train",
            recipe_key=self.plan.recipe.key(),
            temperature=calibration.temperature,
            batch_size=BATCH,
            progress=self.progress,
        )
        opened.evaluation.save(run.path / "evaluation" / "test.npz")
        scores = {"val": val.summary(), "test": opened.evaluation.summary()}
        record_scores(run.bundle, scores)
        return {**scores, "calibration": calibration.document(), "exam": exam}

    def _interim(self, state: State) -> None:
        """Put a usable bundle on disk early, so that whatever happens later, there is one."""
        budget, until = self.clock.budget, self.plan.train_until
        if budget is None or until is None or budget < _INTERIM_FROM or until - self.clock.elapsed < 0.1 * budget:
            return
        finisher = self._finisher(copy.deepcopy(self.model))
        module = finisher.load(state.best)
        val, calibration = finisher.validate(module, self.progress)
        finisher.export(self.run.bundle, module, calibration, val)
        self.progress.say(f"A first usable model ({val.accuracy:.1%} on validation) is at {self.run.bundle}")

    def _finisher(self, model: Model | None = None) -> Finisher:
        return Finisher(
            model or self.model,
            self.plan.recipe,
            self.data.dataset,
            self.data.pack,
            self.data.learning,
            self.standard,
            self.provenance,
        )

    def _feature_batches(self) -> Batches:
        """Features of all training and validation images; the head becomes what is trained."""
        recipe, data = self.plan.recipe, self.data
        execution = self.plan.execution
        execution.place(self.model)
        rows = np.concatenate([data.train_rows, data.val_rows])
        found = features(
            self.model,
            data.pack,
            rows,
            execution,
            mirror=recipe.views > 1,
            start=recipe.start,
            cache=cache_folder(),
            progress=self.progress,
        )
        n = len(data.train_rows)
        mean, deviation = standardise(found[:, :n])
        self.standard = (mean, deviation)
        self.module = self.model.head
        standard = (found - mean) / deviation
        return FeatureBatches(
            standard[:, :n],
            torch.from_numpy(data.pack.labels[data.train_rows]),
            standard[0, n:],
            data.pack.labels[data.val_rows],
            data.learning.val,
            len(self.classes),
            recipe.loss.label_smoothing,
            recipe.seed,
        )


def _headers(dataset: Dataset) -> Iterator[ImageFacts]:
    """What the headers of some pictures say, spread over the data; unreadable ones are the pack's affair."""
    for id in dataset.ids[:: max(1, len(dataset) // _LOOKED_AT)]:
        with contextlib.suppress(BadImageError, OSError):
            yield describe(dataset.read(id))

"""A Training: a plan with its data, from first weights to the bundle whose test split was opened once."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from lightmeter.augment import compose
from lightmeter.models.base import Model, freeze
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import write_atomic
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.recipe import Optimizer, Recipe, Schedule
from lightmeter.nouns.run import Run
from lightmeter.nouns.split import Learning, Split
from lightmeter.optim import build_optimizer
from lightmeter.optim.losses import class_weights_from_counts
from lightmeter.runners import open_runner
from lightmeter.verbs import contamination
from lightmeter.verbs.batches import Batches, FeatureBatches, PixelBatches
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.evaluate import open_test, score
from lightmeter.verbs.export import amend_card
from lightmeter.verbs.features import features, fold, standardise
from lightmeter.verbs.finish import BATCH, Finisher
from lightmeter.verbs.fit import steps, validate
from lightmeter.verbs.learn import digest, learn
from lightmeter.verbs.meter import Plan, build_prepared, finish_seconds
from lightmeter.verbs.start import provenance
from lightmeter.verbs.state import Counters, State

_INTERIM_FROM = 120.0  # seconds of budget from which a first bundle is written early; it costs about 15
_FIT = 2000  # training images that are scored to see how far they were learned by heart
_RATED_FROM = 200  # validation images, below which the seconds they took say little


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
        """Some training images in mixed order, uint8[count, S, S, C]."""
        rows = self.sample[:count]
        ascending = np.argsort(rows)  # the order in which a disk is read fastest
        pixels = np.empty((len(rows), *self.pack.pixels.shape[1:]), np.uint8)
        pixels[ascending] = self.pack.pixels[rows[ascending]]
        return torch.from_numpy(pixels)

    def labels(self, count: int) -> Tensor:
        """Their labels, int64[count]."""
        return torch.from_numpy(self.pack.labels[self.sample[:count]])

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


class HeadAlone(nn.Module):
    """A model's head, trained on features that were computed once."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """float32[N, F] -> logits float32[N, K]."""
        logits: Tensor = self.head(features)
        return logits


class Training:
    """A job between its plan and its tested bundle."""

    def __init__(
        self,
        run: Run,
        data: Data,
        plan: Plan,
        start: Path | None,
        scored: int,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self.run, self.data, self.plan, self.clock, self.progress = run, data, plan, clock, progress
        recipe = plan.recipe
        self.scored = scored
        self.classes = data.dataset.classes
        self.model = build_prepared(recipe, len(self.classes), data.pixels(2000))
        if start is not None:
            from lightmeter.models.pretrained import load_start

            progress.say(load_start(self.model, start).sentence)
        self.frozen = freeze(self.model, recipe.freeze) if recipe.freeze else ()
        self.module: nn.Module = self.model
        self.standard: tuple[Tensor, Tensor] | None = None
        self.provenance = provenance(run, recipe, data.dataset.summary())

    @property
    def on_features(self) -> bool:
        """Whether the head is all that is trained and what it reads never changes, so that it is computed once."""
        return self.plan.recipe.freeze == ("all",) and self.plan.recipe.batchnorm == "frozen"

    def learn(self) -> None:
        """Train to the plan's end; `self.best` then holds the best tensors."""
        recipe, plan = self.plan.recipe, self.plan
        batches: Batches
        if self.on_features:
            batches = self._feature_batches()
            # The execution was chosen for the backbone; a head alone is trained whole batches at a time, in float32.
            execution = replace(plan.execution, dtype="float32", micro_batch=recipe.batch_size)
            plan = replace(plan, execution=execution)
        else:
            if recipe.probe_epochs and not self.run.state.exists():
                self._probe()
            batches = self.data.batches(recipe)
        weights = None
        if recipe.loss.class_weights == "balanced":
            counts = np.bincount(self.data.pack.labels[self.data.train_rows], minlength=len(self.classes))
            weights = class_weights_from_counts(torch.from_numpy(counts)).to(self.plan.execution.device)
        before = digest(self.model, self.frozen, recipe.batchnorm)
        state = learn(
            self.module,
            batches,
            plan,
            run=self.run,
            classes=self.classes,
            clock=self.clock,
            progress=self.progress,
            frozen=() if self.on_features else self.frozen,
            class_weights=weights,
            first_epoch=self.early_bundle,
        )
        if self.on_features:  # the head is trained apart, so that only here the whole model can be looked at
            assert digest(self.model, self.frozen, recipe.batchnorm) == before, "the frozen backbone was changed"
        self.best, self.stopped = state.best, state.counters.stopped

    def finish(self, split: Split) -> dict[str, Any]:
        """Calibrate, export with its exam, open the test split once; returns what the result says."""
        finisher, run = self._finisher(), self.run
        module = finisher.load(self.best)
        write_atomic(run.weights, save(module.model.state_dict()))
        exported = finisher.export(run.bundle, module, self.progress)
        val, calibration = exported.val, exported.calibration
        val.save(run.path / "evaluation" / "val.npz")
        kept = run.path / "evaluation" / "test.npz"
        if kept.exists():  # an attempt that ended before its report opened the test split: it stays at that once
            test = Evaluation.load(kept)
        else:
            opened = open_test(
                open_runner(Bundle.open(run.bundle)),
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
            test = opened.evaluation
            test.save(kept)
        scores = {"val": val.summary(), "test": test.summary()}
        amend_card(run.bundle, scores=scores)
        past = contamination.summary(contamination.of_run(run, self.data.dataset, self.data.pack, split), test)
        scores["provenance"] = past
        return {"stopped": self.stopped, **scores, "calibration": calibration.document(), "exam": exported.exam}

    def score(self, split: Split, *, by: str) -> dict[str, Any]:
        """Write the best weights and score validation, test and some training pictures with them, without an export.

        By the float32 module with its views, where training ran: what a graph would answer, to about 1e-5, without the
        seconds that making one takes. The test split is opened once, by the verb `by`, and that is written down first.
        "fit" is of training pictures as they are, every so many of them, by the weights that were kept.
        """
        run, module = self.run, self._finisher().load(self.best)
        write_atomic(run.weights, save(module.model.state_dict()))
        execution = replace(self.plan.execution, dtype="float32")
        execution.place(module)

        def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.no_grad():
                return module(torch.from_numpy(pixels).to(execution.device)).cpu().numpy()

        learning, kept = self.data.learning, run.path / "evaluation" / "test.npz"
        some = learning.train[:: max(1, len(learning.train) // _FIT)][:_FIT]
        common = {"batch_size": BATCH, "progress": self.progress}
        with execution.pool():
            fitted = score(logits, self.data.pack, some, self.classes, split="train", **common)
            val = score(logits, self.data.pack, learning.val, self.classes, split="val", **common)
            val.save(run.path / "evaluation" / "val.npz")
            if kept.exists():  # an attempt that was stopped after it had opened the test split
                test = Evaluation.load(kept)
            else:
                key = self.plan.recipe.key()
                opened = open_test(
                    logits, self.data.pack, split, self.classes, ledger=run.ledger, by=by, recipe_key=key, **common
                )
                test = opened.evaluation
                test.save(kept)
        return {"fit": fitted.summary(), "val": val.summary(), "test": test.summary()}

    def early_bundle(self, state: State) -> float | None:
        """Put a usable bundle on disk early, and say until when to train, now that finishing has been measured."""
        budget, until = self.clock.budget, self.plan.train_until
        if budget is None or until is None or budget < _INTERIM_FROM or not self.plan.elastic:
            return until
        finisher = self._finisher(copy.deepcopy(self.model))
        exported = finisher.export(self.run.bundle, finisher.load(state.best), self.progress)
        found = f"{exported.val.accuracy:.1%} on validation"
        self.progress.say(f"A first usable model ({found}) is at {self.run.bundle}")
        if exported.val.n < _RATED_FROM:
            return until
        return budget - finish_seconds(self.scored, exported.images_per_second)

    def _finisher(self, model: Model | None = None) -> Finisher:
        return Finisher(
            model or self.model,
            self.plan.recipe,
            self.data.dataset,
            self.data.pack,
            self.data.learning,
            self.standard,
            self.provenance,
            contamination.kept(self.run),
        )

    def _probe(self) -> None:
        """Train the head alone on cached features, so that what is trained with it does not start from noise."""
        recipe = self.plan.recipe
        rate = 1e-3
        alone = recipe.model_copy(
            update={
                "optimizer": Optimizer(name="adamw", lr=rate, bias_lr=rate, head_lr=rate, weight_decay=0.05),
                "schedule": Schedule(name="cosine", warmup=0.05),
                "epochs": recipe.probe_epochs,
            }
        )
        batches = self._feature_batches()
        module = HeadAlone(self.model.head)
        execution = replace(self.plan.execution, dtype="float32", micro_batch=alone.batch_size)
        execution.place(module)
        module.train()
        batch_size = min(alone.batch_size, batches.n)
        total = max(batch_size, alone.epochs * (batches.n // batch_size * batch_size))
        state = State(
            module,
            build_optimizer(module, alone.optimizer),
            None,
            Counters(remaining=float(total), micro_batch=alone.batch_size),
        )
        with execution.pool():
            for _ in steps(state, alone, batches, execution):
                pass
            val = validate(module, batches, execution, self.classes)
        assert self.standard is not None
        fold(self.model.head, *(part.to(execution.device) for part in self.standard))
        self.standard, self.module = None, self.model
        self.progress.say(f"The head alone, on fixed features: val {val.accuracy:.1%}, loss {val.loss:.3f}.")

    def _feature_batches(self) -> Batches:
        """Features of all training and validation images; the head becomes what is trained."""
        recipe, data = self.plan.recipe, self.data
        execution = self.plan.features_by or self.plan.execution
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
        mean, deviation = standardise(found[:, :n], self.model.head)
        self.standard = (mean, deviation)
        self.module = HeadAlone(self.model.head)
        standard = ((found - mean) / deviation).to(execution.device)
        return FeatureBatches(
            standard[:, :n],
            torch.from_numpy(data.pack.labels[data.train_rows]).to(execution.device),
            standard[0, n:],
            data.pack.labels[data.val_rows],
            data.learning.val,
            len(self.classes),
            recipe.loss.label_smoothing,
            recipe.seed,
        )

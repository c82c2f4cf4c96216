"""A Training: a plan with its data, from first weights to the bundle whose test split was opened once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from lightmeter.models.base import Model, freeze
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import write_atomic
from lightmeter.nouns.progress import Progress
from lightmeter.nouns.run import Run
from lightmeter.nouns.split import Split
from lightmeter.nouns.spread import spread
from lightmeter.optim.losses import class_weights_from_counts
from lightmeter.runners import open_side_by_side
from lightmeter.verbs import contamination
from lightmeter.verbs.batches import Batches
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.data import Data
from lightmeter.verbs.evaluate import open_test, score
from lightmeter.verbs.export import amend_card
from lightmeter.verbs.finish import Finisher, finish_seconds
from lightmeter.verbs.head import HeadAlone, Standard, feature_batches, probe
from lightmeter.verbs.learn import digest, learn
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.plan import Plan
from lightmeter.verbs.start import provenance
from lightmeter.verbs.state import State

_INTERIM_FROM = 120.0  # seconds of budget from which a first bundle is written early; it costs about 15
_FIT = 2000  # training images that are scored to see how far they were learned by heart
_RATED_FROM = 200  # validation images, below which the seconds they took say little


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
        self.standard: Standard | None = None
        self.provenance = provenance(run, recipe, data.dataset.summary())

    def learn(self) -> None:
        """Train to the plan's end; `self.best` then holds the best tensors."""
        recipe, plan = self.plan.recipe, self.plan
        batches: Batches
        if recipe.on_features:
            batches, self.standard = feature_batches(self.model, self.data, plan, self.progress)
            self.module = HeadAlone(self.model.head)
            # The execution was chosen for the backbone; a head alone is trained whole batches at a time, in float32.
            execution = replace(plan.execution, dtype="float32", micro_batch=recipe.batch_size)
            plan = replace(plan, execution=execution)
        else:
            if recipe.probe_epochs and not self.run.state.exists():
                probe(self.model, self.data, plan, self.progress)
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
            frozen=() if recipe.on_features else self.frozen,
            class_weights=weights,
            first_epoch=self.early_bundle,
        )
        if recipe.on_features:  # the head is trained apart, so that only here the whole model can be looked at
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
                open_side_by_side(Bundle.open(run.bundle)),
                self.data.pack,
                split,
                self.classes,
                ledger=run.ledger,
                by="train",
                recipe_key=self.plan.recipe.key(),
                temperature=calibration.temperature,
                progress=self.progress,
            )
            test = opened.evaluation
            test.save(kept)
        scores = {"val": val.summary(), "test": test.summary()}
        amend_card(run.bundle, scores={**scores, "calibration": calibration.document()})
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
                found: NDArray[np.float32] = module(torch.from_numpy(pixels).to(execution.device)).cpu().numpy()
            return found

        learning, kept = self.data.learning, run.path / "evaluation" / "test.npz"
        some = spread(learning.train, _FIT)

        def scored(ids: Sequence[str], name: str) -> Evaluation:
            pack, classes = self.data.pack, self.classes
            return score(logits, pack, ids, classes, split=name, progress=self.progress)

        with execution.pool():
            fitted, val = scored(some, "train"), scored(learning.val, "val")
            val.save(run.path / "evaluation" / "val.npz")
            if kept.exists():  # an attempt that was stopped after it had opened the test split
                test = Evaluation.load(kept)
            else:
                test = open_test(
                    logits,
                    self.data.pack,
                    split,
                    self.classes,
                    ledger=run.ledger,
                    by=by,
                    recipe_key=self.plan.recipe.key(),
                    progress=self.progress,
                ).evaluation
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
        return budget - finish_seconds(exported.seconds, self.scored, exported.images_per_second)

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

"""What a study measures once and then keeps, so that a study that goes on, or is run again, computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lightmeter.models.base import Model, freeze
from lightmeter.nouns.files import read_json, write_json
from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes import Facts
from lightmeter.studies.base import Arm, MakeRecipe, Pictures, Scale
from lightmeter.verbs.data import Data
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.fit import training_mode
from lightmeter.verbs.measure import inference_rate, measure_training
from lightmeter.verbs.meter import build_prepared, training_rate
from lightmeter.verbs.mirror import measure_mirror

FORMAT = 1
_SECONDS = 4.0  # for choosing an execution
_RATE_SECONDS = 3.0  # for timing the whole step
_MARGIN = 0.95  # of the measured speed is planned with; the rest is for validation
_HEAD_EPOCHS = 50.0  # of a head on features computed once, which learns in seconds
_PLAIN_MICRO_BATCH = 256
_MOST_AT_ONCE = 64  # pictures whose features are timed


class Measured:
    """The file `measured.json` of a study's folder."""

    def __init__(self, path: Path, scale: Scale) -> None:
        """Read it where it is there. Raises FormatError."""
        self.path, self.scale = path, scale
        self.known: dict[str, Any] = {"format": FORMAT, "mirror": {}, "execution": {}, "epochs": {}}
        if path.exists():
            self.known = read_json(path, kind="study's measurements", newest=FORMAT)

    def mirror(self, pictures: Pictures, data: Data) -> bool:
        """Whether a mirrored picture still shows its class, as measured with the first seed."""
        known, name = self.known["mirror"], repr(pictures)
        if name not in known:
            sample = data.sample
            known[name] = bool(measure_mirror(data.pack.some(sample), data.pack.labels[sample]).safe)
            self._save()
        return bool(known[name])

    def execution(self, recipe: Recipe, data: Data) -> Execution:
        """How this network runs fastest here; at the scale of tests plain float32, unmeasured."""
        classes, canvas = len(data.dataset.classes), recipe.preprocess
        batch = min(recipe.batch_size, len(data.train_rows))
        what = f"{recipe.model.model_dump_json()} {classes} classes {canvas.size}x{canvas.channels} batch {batch}"
        what += f" freeze {','.join(recipe.freeze)} {recipe.batchnorm}" if recipe.freeze else ""
        known = self.known["execution"]
        if what not in known:
            if self.scale == "smoke":
                device = "cuda" if torch.cuda.is_available() else "cpu"
                micro_batch = min(batch, _PLAIN_MICRO_BATCH)
                chosen = Execution(device, "float32", "channels_last", micro_batch, torch.get_num_threads())
            else:
                pixels = data.pixels(2000)
                model = build_prepared(recipe, classes, pixels)
                frozen = freeze(model, recipe.freeze) if recipe.freeze else ()
                chosen, _ = measure_training(
                    model,
                    pixels[:batch],
                    data.labels(batch),
                    batch,
                    seconds=_SECONDS,
                    mode=lambda module: training_mode(module, frozen, recipe.batchnorm),
                )
            known[what] = chosen.document()
            self._save()
        return Execution(**known[what])

    def epochs(self, arm: Arm, make: MakeRecipe, facts: Facts, data: Data, name: str) -> float:
        """Epochs that an arm trains for: its own number, or as many as its seconds leave time for.

        Args:
            make: the recipe, which with `best_of` is another arm's.
            name: under which the number is kept.
        """
        if arm.epochs:
            return arm.epochs
        known = self.known["epochs"]
        if name not in known:
            recipe = make(facts, 1.0)
            if recipe.freeze == ("all",) and recipe.batchnorm == "frozen":
                known[name] = _HEAD_EPOCHS
            else:
                execution = self.execution(recipe, data)
                model = build_prepared(recipe, facts.num_classes, data.pixels(2000))
                frozen = freeze(model, recipe.freeze) if recipe.freeze else ()
                left = arm.seconds - self._probe_seconds(recipe, model, execution, data)
                seconds = min(_RATE_SECONDS, 0.05 * arm.seconds)
                rate = training_rate(model, recipe, data.batches(recipe), execution, seconds=seconds, frozen=frozen)
                step = min(recipe.batch_size, facts.n) / facts.n
                known[name] = max(step, round(_MARGIN * rate * left / facts.n, 3))
            self._save()
        return float(known[name])

    def _probe_seconds(self, recipe: Recipe, model: Model, execution: Execution, data: Data) -> float:
        """What computing features for a head that is trained first takes of an arm's time; 0 where none is."""
        if not recipe.probe_epochs:
            return 0.0
        rate = inference_rate(model, data.pixels(_MOST_AT_ONCE), execution, seconds=_RATE_SECONDS / 3)
        return (len(data.train_rows) + len(data.val_rows)) * recipe.views_for_features / rate

    def _save(self) -> None:
        write_json(self.path, self.known)

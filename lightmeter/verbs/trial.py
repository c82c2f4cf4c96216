"""trial: one recipe trained once on given data for its number of epochs, and scored: a run folder without bundle."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lightmeter.errors import StorageError
from lightmeter.models.table import count
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.provenance import RULES, Contamination, by_name, gravest
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.run import Run
from lightmeter.nouns.split import Split
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.data import Data
from lightmeter.verbs.environment import environment
from lightmeter.verbs.execution import Execution
from lightmeter.verbs.plan import Plan
from lightmeter.verbs.start import Start
from lightmeter.verbs.training import Training


def trial(
    folder: Path,
    data: Data,
    split: Split,
    recipe: Recipe,
    *,
    start: Start | None = None,
    execution: Execution,
    progress: Progress = SILENT,
) -> Run:
    """Train `recipe` on `data` and score it; a finished trial is not done again, an interrupted one goes on exactly.

    A Run as `train` leaves one, less what only serving needs: no export (making a graph takes seconds that a study of
    many arms would pay for each), no calibration, no report. Scores are those of the float32 module with its views.

    Args:
        folder: of the run; made where it is not there.
        start: the first weights, which `recipe.start` names.
        execution: how it is computed, part of what makes it repeatable.

    Raises:
        StorageError: the folder holds a trial of another recipe or of other data.
        LightmeterError: see `lightmeter.errors`.
        KeyboardInterrupt: stopped by Ctrl-C, or while it learns by SIGTERM; the same call goes on.
    """
    assert recipe.start == ("scratch" if start is None else start.identity), "a recipe names its start weights"
    run = Run(folder)
    request = {"trial": True, "recipe_key": recipe.key(), "fingerprint": split.fingerprint}
    if run.has("request") and not _same(run, request):
        run.discard()
    if run.has("request"):
        if run.has("result"):
            return run
    else:
        if not run.epochs():
            run.discard()  # what was begun and killed before its request stood there, which is written last
        run = Run.create(folder)
        split.save(folder / "split.json")
        run.write("data", data.dataset.summary())
        run.write("environment", environment(recipe.seed))
        run.write("recipe", {"key": recipe.key(), "recipe": recipe.document()})
        if start is not None:
            run.write("start", start.document())
        run.write("request", request)
    plan = Plan(recipe, execution, None, False)
    run.write("plan", {"budget": None, **plan.document(), "phases": []})
    used = float(run.read("clock")["elapsed"]) if run.has("clock") else 0.0
    clock = Clock(time.monotonic() - used, None)
    training = Training(run, data, plan, None if start is None else start.path, 0, clock, progress)
    parameters = _parameters(training)
    training.learn()
    learned = clock.elapsed
    scores = training.score(split, by="study")
    past = _past(run, data, split, () if start is None else start.seen)
    run.write("result", {**_cost(run, learned), "parameters": parameters, **_last(run), **scores, **past})
    shutil.rmtree(run.state, ignore_errors=True)  # only an unfinished trial needs it, and it is the bulk of the folder
    return run


def _same(run: Run, request: dict[str, Any]) -> bool:
    """Whether the folder's trial is this one; another one that has learnt nothing yet, as it failed, may go."""
    kept = run.read("request")
    if kept != {"format": kept["format"], **request} and not run.epochs() and not run.state.exists():
        return False
    for name, what in (("recipe_key", "recipe"), ("fingerprint", "data")):
        if kept.get(name) != request[name]:
            raise StorageError(
                f"{run.path} holds a trial of another {what}.",
                f"a trial of the same {what}, to go on with, or a new folder",
                "choose another --out, or delete that folder.",
            )
    return True


def _past(run: Run, data: Data, split: Split, seen: tuple[str, ...]) -> dict[str, Any]:
    """{"provenance": ...}: the test score on pictures that the start weights have and have not seen, by their names.

    Only of weights that learned from a public training set, whose pictures are known by name; nothing is compared
    picture by picture, as `train` does, which would cost each arm of a study the same seconds again.
    """
    public = [name for name in seen if name in RULES]
    if not public:
        return {}
    source, name = data.dataset.provenance.source, data.dataset.name
    judged = [gravest(one) for one in zip(*(by_name(known, source, name, split.test) for known in public), strict=True)]
    verdicts, whys = tuple(one for one, _ in judged), tuple(why for _, why in judged)
    found = Contamination(split.test, verdicts, whys, tuple(public))
    test = Evaluation.load(run.path / "evaluation" / "test.npz")
    return {"provenance": found.summary(test.ids, test.correct)}


def _parameters(training: Training) -> dict[str, int]:
    counted = count(training.model)
    return {"total": counted.total, "trainable": counted.trainable, "non_trainable": counted.non_trainable}


def _cost(run: Run, seconds: float) -> dict[str, Any]:
    """Epochs, the seconds of learning with its validations (features included), and speed."""
    epochs = run.epochs()
    whole = [record["seconds"] for record in epochs]
    return {
        "epochs": epochs[-1]["epoch"],
        "seconds": round(seconds, 3),
        "seconds_per_epoch": round(sum(whole) / len(whole), 4),
        "images_per_second": round(sorted(record["images_per_second"] for record in epochs)[len(epochs) // 2], 1),
    }


def _last(run: Run) -> dict[str, Any]:
    """What the last epoch saw of its own training pictures, augmented, while it learned them."""
    last = run.epochs()[-1]
    return {"train": {"accuracy": last["train/accuracy"], "loss": last["train/loss"]}}

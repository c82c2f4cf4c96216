"""run_study: a Study -> a folder with every arm trained for every seed, its tables, verdicts and pages."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightmeter.errors import FormatError, LightmeterError, StorageError, UsageError
from lightmeter.nouns.files import read_json, storage_errors, write_atomic, write_json
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.recipe import Recipe
from lightmeter.nouns.run import Run
from lightmeter.recipes import Facts
from lightmeter.studies.base import FROM_ARM, Arm, MakeRecipe, Scale, Study
from lightmeter.studies.measured import Measured
from lightmeter.studies.page import write_pages
from lightmeter.studies.pictures import Materials
from lightmeter.studies.summary import FORMAT, Status, document_of
from lightmeter.verbs.reporting.words import THIN, duration
from lightmeter.verbs.start import Start, open_start
from lightmeter.verbs.trial import trial


@dataclass(frozen=True, slots=True)
class StudyResult:
    """Where a study lies, and what its `study.json` says."""

    folder: Path
    document: dict[str, Any]

    @property
    def page(self) -> Path:
        """The page to look at."""
        return self.folder / "study.html"

    @property
    def markdown(self) -> Path:
        """The same tables as text."""
        return self.folder / "study.md"

    def summary(self) -> dict[str, Any]:
        """What `lightmeter study --json` prints."""
        return {
            "study": self.document["name"],
            "page": str(self.page),
            "markdown": str(self.markdown),
            **{name: self.document[name] for name in ("scale", "complete", "arms", "verdicts", "knee", "rows")},
        }


def run_study(
    study: Study,
    scale: Scale,
    *,
    out: Path,
    seeds: Sequence[int] = (),
    only: Sequence[str] = (),
    materials: Materials | None = None,
    progress: Progress = SILENT,
) -> StudyResult:
    """Train every arm for every seed, and write `study.json`, `study.html` and `study.md`.

    What `out` holds already is not done again, what was interrupted goes on exactly. Arms share opened sources,
    canvases, splits and features. An arm that fails is recorded with its reason, as are those that start from it, and
    the others go on; they are tried again by the next call.

    Args:
        out: the study's folder; each training is a run in `arms/<arm>/seed-<n>/`.
        seeds: instead of the study's own.
        only: names of arms; those that they need are added.
        materials: pictures that were opened already.

    Raises:
        UsageError: no such arm, or seeds that are none.
        StorageError: the folder holds another study.
        KeyboardInterrupt: stopped; the same call goes on.
    """
    arms = study.arms(scale)
    chosen = _needed(arms, only)
    wanted = tuple(dict.fromkeys(seeds)) or study.seeds[scale]
    if any(seed < 0 for seed in wanted):
        raise UsageError(f"The seeds {', '.join(map(str, wanted))} were asked for.", "numbers from 0 on")
    _claim(out, study, scale)
    job = _Job(
        study,
        scale,
        out,
        {arm.name: arm for arm in arms},
        materials or Materials(progress=progress),
        Measured(out / "measured.json", scale),
        progress,
    )
    job.recall(wanted)
    plan = [(seed, arm) for seed in wanted for arm in chosen]
    for place, (seed, arm) in enumerate(plan):
        left = job.left(plan[place:])
        progress.say(f"{place + 1} of {len(plan)}: {arm.name}, seed {seed}{left}")
        job.go(arm, seed)
        write_json(out / "study.json", job.document(complete=False, judged=False))
    found = job.document(complete=True, judged=True)
    write_json(out / "study.json", found)
    result = open_study(out)
    write_pages(result.document, out)
    return result


def _needed(arms: Sequence[Arm], only: Sequence[str]) -> list[Arm]:
    """The arms named and those that they start from or choose among, in the study's order; all where none is named."""
    known = {arm.name: arm for arm in arms}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UsageError(f"There is no arm {', '.join(map(repr, unknown))}.", "some of " + ", ".join(known))
    pending, wanted = list(only or known), set()
    while pending:
        name = pending.pop()
        if name not in wanted:
            wanted.add(name)
            pending += needs(known[name])
    return [arm for arm in arms if arm.name in wanted]


def needs(arm: Arm) -> list[str]:
    """Names of the arms that must be trained before this one."""
    start = [arm.start.removeprefix(FROM_ARM)] if arm.start.startswith(FROM_ARM) else []
    return [*start, *arm.best_of]


def _claim(out: Path, study: Study, scale: Scale) -> None:
    """Make the folder, or see that it holds this study."""
    path = out / "study.json"
    if path.exists():
        kept = read_json(path, kind="study", newest=FORMAT)
        if (kept.get("name"), kept.get("scale")) != (study.name, scale):
            raise StorageError(
                f"{out} holds the study {kept.get('name')} at scale {kept.get('scale')}.",
                f"the study {study.name} at scale {scale}, to go on with, or a new folder",
                "choose another --out.",
            )
        return
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)


@dataclass
class _Job:
    """A study under way."""

    study: Study
    scale: Scale
    out: Path
    arms: Mapping[str, Arm]
    materials: Materials
    measured: Measured
    progress: Progress
    statuses: dict[tuple[str, int], Status] = field(default_factory=dict)

    def recall(self, seeds: Sequence[int]) -> None:
        """Take up what an earlier call left: finished trainings of any seed, and which were asked for now."""
        for arm in self.arms.values():
            folder = self.out / "arms" / arm.name
            kept = {
                int(path.name.removeprefix("seed-"))
                for path in folder.glob("seed-*")
                if (path / "result.json").exists()
            }
            for seed in sorted({*seeds, *kept}):
                run = self.run_of(arm.name, seed)
                self.statuses[arm.name, seed] = Status("done" if run.has("result") else "waiting", "", run)

    def run_of(self, name: str, seed: int) -> Run:
        """The run of an arm, whether it is there or not."""
        return Run(self.out / "arms" / name / f"seed-{seed}")

    def left(self, plan: Sequence[tuple[int, Arm]]) -> str:
        """How long the rest of the plan takes, in words, from what its arms took with other seeds.

        An arm of so many epochs that was not trained yet is counted, not guessed.
        """
        total, untimed = 0.0, 0
        for seed, arm in plan:
            if self.statuses[arm.name, seed].state == "done":
                continue
            took = [
                status.run.read("result")["seconds"]
                for (name, _), status in self.statuses.items()
                if name == arm.name and status.state == "done"
            ]
            if took or arm.seconds:
                total += sum(took) / len(took) if took else arm.seconds
            else:
                untimed += 1
        if not total:
            return ""
        others = f", and {untimed} that {'was' if untimed == 1 else 'were'} not timed yet" if untimed else ""
        return f", about {duration(total).replace(THIN, ' ')} of training left{others}"

    def go(self, arm: Arm, seed: int) -> None:
        """Train one arm with one seed, or record why not."""
        run = self.run_of(arm.name, seed)
        broken = [name for name in needs(arm) if self.statuses[name, seed].state != "done"]
        if broken and (not arm.best_of or len(broken) == len(needs(arm))):
            self.statuses[arm.name, seed] = Status("skipped", f"it needs {', '.join(broken)}, which failed", run)
            return
        try:
            self._train(arm, seed, run)
        except LightmeterError as error:
            self.statuses[arm.name, seed] = Status("failed", str(error.received), run)
        except Exception as error:  # noqa: BLE001 - one arm's failure, a bug's too, must not cost the others their turn
            write_atomic(run.path / "error.txt", traceback.format_exc())
            self.statuses[arm.name, seed] = Status("failed", f"{type(error).__name__}: {error}", run)
        else:
            (run.path / "error.txt").unlink(missing_ok=True)
            self.statuses[arm.name, seed] = Status("done", "", run)
        if self.statuses[arm.name, seed].state == "failed":
            self.progress.say(f"{arm.name}, seed {seed} failed: {self.statuses[arm.name, seed].reason}")

    def _train(self, arm: Arm, seed: int, run: Run) -> None:
        data, split = self.materials.data(arm.pictures, seed)
        make, name = self._recipe_of(arm, seed)
        mirror = self.measured.mirror(arm.pictures, data)
        facts = Facts(len(data.train_rows), len(data.dataset.classes), data.pack.preprocess, mirror, seed)
        epochs = self.measured.epochs(arm, make, facts, data, name)
        recipe = make(facts, epochs)
        if recipe.preprocess != data.pack.preprocess:
            raise UsageError(
                f"The recipe of {arm.name} wants other canvases than its pictures have.",
                f"{data.pack.preprocess.size} pixels and {data.pack.preprocess.channels} channels",
                "say so in the arm's Pictures.",
            )
        start = self._start(arm, seed, recipe)
        recipe = recipe.model_copy(update={"start": "scratch" if start is None else start.identity})
        execution = self.measured.execution(recipe, data)
        trial(run.path, data, split, recipe, start=start, execution=execution, progress=self.progress)

    def _recipe_of(self, arm: Arm, seed: int) -> tuple[MakeRecipe, str]:
        """The arm's recipe and a name for its number of epochs; with `best_of` those of the best by validation."""
        if not arm.best_of:
            return arm.recipe, arm.name
        done = [name for name in arm.best_of if self.statuses[name, seed].state == "done"]
        scores = {name: self.run_of(name, seed).read("result")["val"]["accuracy"] for name in done}
        best = max(done, key=lambda name: scores[name])  # of equals the first
        self.progress.say(f"{best} validated best: {scores[best]:.1%}.")
        return self.arms[best].recipe, f"{arm.name}: {best}"

    def _start(self, arm: Arm, seed: int, recipe: Recipe) -> Start | None:
        if not arm.start:
            return None
        if arm.start.startswith(FROM_ARM):
            path = self.run_of(arm.start.removeprefix(FROM_ARM), seed).path
            return open_start(str(path), builder=recipe.model.name)
        return open_start(arm.start, builder=recipe.model.name)

    def document(self, *, complete: bool, judged: bool) -> dict[str, Any]:
        """What stands in study.json."""
        return document_of(
            self.study, self.scale, list(self.arms.values()), self.statuses, complete=complete, judged=judged
        )


def open_study(folder: Path) -> StudyResult:
    """A study that was run before. Raises FormatError."""
    if not (folder / "study.json").exists():
        raise FormatError(f"{folder} holds no study.", "a folder that `lightmeter study` wrote")
    return StudyResult(folder, read_json(folder / "study.json", kind="study", newest=FORMAT))


def with_source(study: Study, source: str, size: int, channels: int) -> Study:
    """The same study on other pictures, to which its published figures do not belong."""

    def arms(scale: Scale) -> tuple[Arm, ...]:
        return tuple(
            replace(
                arm,
                pictures=replace(
                    arm.pictures,
                    source=source,
                    size=size,
                    channels=channels,
                    classes=(),
                    train_limit=arm.pictures.train_limit if scale == "smoke" else 0,
                    test_limit=arm.pictures.test_limit if scale == "smoke" else 0,
                ),
                published=None,
            )
            for arm in study.arms(scale)
        )

    name = Path(source).name or source
    return replace(
        study,
        arms=arms,
        published={},
        title=f"{study.name}: {name}",
        question=f"The arms of the study {study.name!r}, trained on {name}. What was published is of other pictures.",
        left_out={"smoke": study.left_out.get("smoke", "")},
    )

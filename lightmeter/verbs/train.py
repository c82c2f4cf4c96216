"""train: pictures to a measured, exported, honestly scored classifier, inside a wall-clock budget. The whole job."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Unpack

from lightmeter.errors import LightmeterError, StorageError, UsageError
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.files import write_atomic
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.run import Run, passes
from lightmeter.nouns.split import Split
from lightmeter.sources import open_source
from lightmeter.verbs.check import Check, check
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.contamination import examine
from lightmeter.verbs.environment import environment
from lightmeter.verbs.pack import pack as build_pack
from lightmeter.verbs.request import DEFAULT_BUDGET, Request, TrainOptions
from lightmeter.verbs.split import split as draw_split

_FEW = 100  # validation pictures, below which what is set by them is said to be rough


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where everything is and how good the model is: `result.json` of the run."""

    run: Path
    bundle: Path
    report: Path
    values: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """What `lightmeter train --json` prints."""
        return {"run": str(self.run), "bundle": str(self.bundle), "report": str(self.report), **self.values}


def train(
    source: str,
    *,
    resume: bool = False,
    began: float | None = None,
    progress: Progress = SILENT,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Check, split, pack, plan, train, calibrate, export, test once, report.

    Args:
        source: a folder of pictures, a table of them, or a named data set.
        resume: go on with the run in `out`; its own request counts, and time it used before is counted.
        began: `time.monotonic()` at which the budget begins; now by default.
        progress: where to show what is going on.
        **options: see `Request`; `out` is the run folder (default: a new one below `runs/`).

    Raises:
        LightmeterError: see `lightmeter.errors`; a run that was begun can be resumed.
        KeyboardInterrupt: stopped by Ctrl-C, or while it learns by SIGTERM; resumable.
    """
    out = options.pop("out", None)
    if options.get("start") is not None:
        options["start"] = str(options["start"])
    if resume:
        if out is None:
            raise UsageError("--resume was given without --out.", "the folder of the run to go on with")
        run = Run.open(out)
        kept = _less_format(run.read("request"))
        if "source" not in kept:
            raise UsageError(f"{out} is a training of a study.", "a run of `train`", "run the study again to go on.")
        request = Request.model_validate(kept)
        if request.source != source:
            raise UsageError(f"{out} was trained on {request.source!r}, not on {source!r}.", "the same source")
        if run.has("result") and run.read("result").get("complete", True):
            progress.say(
                "That run is complete, as it was asked for then; for more, start a new one, with another --out."
            )
            return _result(run)
    else:
        request = Request.parse({"source": source, **options})
        if request.budget is None and request.epochs is None:
            request = request.model_copy(update={"budget": DEFAULT_BUDGET})
        run = Run.create(out or default_folder(source))
        run.write("request", request.model_dump(mode="json"))
    try:
        return _Job(request, run, _clock(run, request, began), progress).go()
    except LightmeterError:
        if not resume and not run.epochs() and not run.state.exists():
            run.discard()  # so that the same command, mended, does not find its folder taken
        raise


@dataclass(frozen=True, slots=True)
class _Job:
    """One training; `go` reads top to bottom."""

    request: Request
    run: Run
    clock: Clock
    progress: Progress

    def go(self) -> TrainResult:
        """Do the job, leaving out what an earlier, interrupted attempt has done."""
        # Imported here: PyTorch takes seconds to load, and a mistake in the arguments should show at once.
        from lightmeter.verbs.canvas import choose_preprocess
        from lightmeter.verbs.makers import check_settings
        from lightmeter.verbs.prepare import prepare, start_of

        request, run, clock, progress = self.request, self.run, self.clock, self.progress
        start = start_of(request)  # first, as what is wrong with what was asked for should show before data are opened
        check_settings(request, start)
        if start is not None:
            run.write("start", start.document())
        phases = _Phases(clock, run)
        dataset = open_source(
            request.source,
            class_names=request.class_names,
            path_column=request.path_column,
            label_column=request.label_column,
            group_column=request.group_column,
            split_column=request.split_column,
            on_bad=request.on_bad,
            progress=progress,
        )
        check(dataset)
        phases.end("open the source")
        planned = run.has("plan")  # resuming: the canvas is the plan's, however little time is left now
        preprocess = run.recipe.preprocess if planned else choose_preprocess(dataset, request, clock, start, progress)
        pack = build_pack(dataset, preprocess, cache=cache_folder(), on_bad=request.on_bad, progress=progress)
        looked = check(dataset, pack)  # again: what could not be decoded may have been the last of its class
        for warning in looked.warnings:
            progress.say(f"Note: {warning}")
        dataset = dataset.without(pack.bad)
        phases.end("decode and pack")
        split = self._split(dataset, pack)
        self._describe(dataset, pack, split, looked)
        examine(run, dataset, pack, split)
        phases.end("split")
        training = prepare(request, run, dataset, pack, split, clock, progress)
        phases.end("measure and plan")
        training.learn()
        phases.end("train")
        values = training.finish(split)
        phases.end("calibrate, export and test")
        return self._report(dataset, pack, values, phases)

    def _split(self, dataset: Dataset, pack: Pack) -> Split:
        path = self.run.path / "split.json"
        if path.exists():  # resuming: the split is kept as ids and never drawn again
            kept = Split.load(path)
            if kept.fingerprint != dataset.fingerprint:
                raise StorageError(
                    f"The data behind {self.request.source!r} have changed since this run began.",
                    "the same pictures",
                    "start a new run with another --out.",
                )
            return kept
        split = draw_split(dataset, pack.pixel_hashes, seed=self.request.seed, allow_leak=self.request.allow_leak)
        split.save(path)
        return split

    def _describe(self, dataset: Dataset, pack: Pack, split: Split, looked: Check) -> None:
        counts = {"train": len(split.train), "val": len(split.val), "test": len(split.test)}
        facts = {**counts, "origin": split.origin, "leaks": len(split.leaks), "clusters": split.clusters}
        self.run.write(
            "data", {**dataset.summary(), "split": facts, "canvas_notes": dict(pack.notes), "warnings": looked.warnings}
        )
        self.run.write("environment", environment(self.request.seed))
        self.progress.say(
            f"{dataset.name}: {len(dataset):,} pictures of {len(dataset.classes)} classes; "
            + ", ".join(f"{count:,} {name}" for name, count in counts.items())
        )
        if counts["val"] < _FEW:
            self.progress.say(
                f"Note: what is set by validation pictures is rough with {counts['val']} of them: the probabilities, "
                "the threshold for abstaining, and often the choice of weights."
            )

    def _report(self, dataset: Dataset, pack: Pack, values: dict[str, Any], phases: _Phases) -> TrainResult:
        from lightmeter.verbs.report import report

        run, clock = self.run, self.clock
        plan = _less_format(run.read("plan"))
        epochs = run.epochs()
        _write_history(run, epochs)
        values = {"seconds": round(clock.elapsed, 2), "budget": clock.budget, "epochs": passes(epochs), **values}
        run.write("plan", {**plan, "phases": phases.document()})
        run.write("result", {**values, "complete": False})
        report(run.path, pack=pack)
        phases.end("report")
        run.write("plan", {**plan, "phases": phases.document()})
        values["seconds"] = round(clock.elapsed, 2)
        run.write("result", values)
        return _result(run)


class _Phases:
    """Seconds that each part of the job took."""

    def __init__(self, clock: Clock, run: Run) -> None:
        self.run = run
        self.clock, self.names, self.last = clock, [("start", round(clock.elapsed, 2))], clock.elapsed

    def end(self, name: str) -> None:
        now = self.clock.elapsed
        self.names.append((name, round(now - self.last, 2)))
        self.run.write("clock", {"elapsed": round(now, 3)})
        self.last = now

    def document(self) -> list[dict[str, Any]]:
        return [{"name": name, "seconds": seconds} for name, seconds in self.names]


def _clock(run: Run, request: Request, began: float | None) -> Clock:
    began = time.monotonic() if began is None else began
    if run.has("clock"):  # what an earlier attempt used counts
        began -= float(run.read("clock")["elapsed"])
    return Clock(began, request.budget)


def _result(run: Run) -> TrainResult:
    return TrainResult(run.path, run.bundle, run.report, _less_format(run.read("result")))


def _less_format(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "format"}


def default_folder(source: str) -> Path:
    """Where a run of this source goes if nothing is said: a folder below `runs/` named by source and time."""
    name = Path(source).stem or "pictures"
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _write_history(run: Run, epochs: list[dict[str, Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(epochs[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(epochs)
    write_atomic(run.path / "history.csv", buffer.getvalue())

"""again: a finished run or bundle, by its path, scored again, read again or exported again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lightmeter.errors import DataError, FormatError, UsageError
from lightmeter.nouns.bundle import EXAM, EXAM_IMAGES, Bundle
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.examples import Examples
from lightmeter.nouns.files import read_json
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.nouns.run import Run
from lightmeter.nouns.spread import spread
from lightmeter.runners import Runner, open_side_by_side
from lightmeter.sources import open_source
from lightmeter.verbs import contamination
from lightmeter.verbs.evaluate import document, open_test, score
from lightmeter.verbs.neighbours import gather
from lightmeter.verbs.pack import pack
from lightmeter.verbs.start import provenance
from lightmeter.verbs.verify import bundle_in

OnBad = Literal["error", "quarantine"]


def evaluate(
    path: Path,
    source: str | None = None,
    *,
    split: str = "test",
    on_bad: OnBad = "error",
    class_names: Path | None = None,
    path_column: str = "",
    label_column: str = "",
    progress: Progress = SILENT,
) -> tuple[Evaluation, dict[str, Any]]:
    """Score the exported model of a run, or a bundle.

    Without a source, a run's own split is scored; opening its test part is written into its ledger. With a source,
    all its pictures are scored, or its part `split` where it has one.

    Returns:
        the Evaluation, and its JSON document, with "opened" for a run's test split.

    Raises:
        UsageError: a bundle without a source, or an unknown split.
        DataError: the source is what the bundle was trained on, or has classes that the model does not know.
    """
    if split not in ("test", "val"):
        raise UsageError(f"--split {split!r} cannot be scored.", "test or val")
    run = Run.open(path) if (path / "request.json").exists() else None
    bundle = Bundle.open(bundle_in(path))
    if source is None:
        if run is None:
            raise UsageError(f"{path} is a bundle, which holds no pictures.", "a source to score", _GIVE_RUN)
        return _own(run, bundle, split, progress)
    dataset = open_source(
        source,
        class_names=class_names,
        path_column=path_column,
        label_column=label_column,
        on_bad=on_bad,
        progress=progress,
    )
    whole = pack(dataset, bundle.preprocess, cache=cache_folder(), on_bad=on_bad, progress=progress)
    dataset = dataset.without(whole.bad)
    if bundle.provenance.get("fingerprint") == dataset.fingerprint:
        raise DataError(
            f"{source} is what this model was trained on, so most of its pictures would be scored from memory.",
            "pictures that the model has not seen",
            _GIVE_RUN,
        )
    dataset = _in_classes_of(bundle, dataset)
    canvases = pack(dataset, bundle.preprocess, cache=cache_folder(), on_bad=on_bad, progress=progress)
    part = split if split in dataset.splits else ""
    kept = set(canvases.ids)
    ids = [id for id, name in zip(dataset.ids, dataset.splits, strict=True) if name == part or not part if id in kept]
    evaluation = _score(bundle, canvases, ids, part or "all", progress)
    found = contamination.judge(dataset, canvases, ids, contamination.of_bundle(bundle))
    return evaluation, {**document(evaluation), "provenance": contamination.summary(found, evaluation)}


def scored(path: Path, split: str) -> Evaluation:
    """What a run kept of its own scoring. Raises UsageError, FormatError."""
    if split not in ("test", "val"):
        raise UsageError(f"--split {split!r} was not scored.", "test or val")
    run = Run.open(path)
    file = run.path / "evaluation" / f"{split}.npz"
    if not file.exists():
        raise FormatError(f"{path} has no scores of its {split} split.", "a finished run", "go on with it by --resume.")
    return Evaluation.load(file)


def export(path: Path, out: Path | None = None, *, examples: int = 0, progress: Progress = SILENT) -> dict[str, Any]:
    """Write the bundle of a finished run again from its best weights, to `out` or in place of the one that it has.

    Args:
        examples: so many training pictures travel with it, small, for its server to show the nearest of. Whoever has
            the bundle can look at them.

    Returns:
        {"bundle", "examples", "exam": {"n", "max_abs_diff", "top1_flips"}}.

    Raises:
        ExamError: the exported graph does not answer as the trained model does; nothing is left behind.
        FormatError: the run is not finished.
        SourceError, DataError: examples were asked for, and the run's pictures are gone or changed.
    """
    from safetensors.torch import load_file

    from lightmeter.models import build_model
    from lightmeter.models.views import MultiView
    from lightmeter.verbs.export import write_bundle

    run = Run.open(path)
    recipe, result, data = run.recipe, run.read("result"), run.read("data")
    if "calibration" not in result:
        raise FormatError(
            f"{path} is a training of a study, which is not calibrated.",
            "a run of `train`",
            f"train one from its weights: lightmeter train SOURCE --start {path}",
        )
    preprocess, classes = recipe.preprocess, tuple(data["classes"])
    model = build_model(recipe.model, len(classes), channels=preprocess.channels, size=preprocess.size)
    model.load_state_dict(load_file(run.weights))
    target = out or run.bundle
    exam = write_bundle(
        target,
        MultiView(model, recipe.views).eval(),
        classes=classes,
        preprocess=preprocess,
        temperature=result["calibration"]["temperature"],
        abstain_below=result["calibration"]["abstain_below"],
        recipe_key=recipe.key(),
        scores={name: result[name] for name in ("val", "test")},
        provenance=provenance(run, recipe, data),
        exam=_exam_pictures(run, progress),
        seen=contamination.kept(run),
        examples=_examples(run, examples, progress) if examples else None,
    )
    return {"bundle": str(target), "examples": min(examples, len(run.split.train)), "exam": exam.document()}


def _examples(run: Run, count: int, progress: Progress) -> Callable[[Runner], Examples]:
    canvases = pack(
        data_of(run, progress), run.recipe.preprocess, cache=cache_folder(), on_bad="quarantine", progress=progress
    )
    return lambda runner: gather(runner, canvases, run.split.train, count)


def report(path: Path, *, progress: Progress = SILENT) -> Path:
    """Write the report of a run again, with its pictures where the source is still there; returns the page's path.

    Raises:
        FormatError, StorageError: see `lightmeter.verbs.report`.
    """
    from lightmeter.verbs.report import report as write

    run = Run.open(path)
    try:
        dataset = data_of(run, progress)
        canvases = pack(dataset, run.recipe.preprocess, cache=cache_folder(), on_bad="quarantine", progress=progress)
    except (DataError, FormatError) as error:
        progress.say(f"Without pictures: {error.received}")
        return write(path)
    return write(path, pack=canvases)


def _exam_pictures(run: Run, progress: Progress) -> list[tuple[str, bytes]]:
    """The pictures of the bundle's exam, so that the source need not be there; else some of validation."""
    try:
        items = read_json(run.bundle / EXAM, kind="exam", newest=1)["items"]
        return [(item["id"], (run.bundle / item["file"]).read_bytes()) for item in items]
    except (FormatError, OSError):
        dataset = data_of(run, progress)
        return [(id, dataset.read(id)) for id in spread(run.split.val, EXAM_IMAGES)]


_GIVE_RUN = "name the run folder without a source to score its locked test split, or name other pictures."


def _own(run: Run, bundle: Bundle, split: str, progress: Progress) -> tuple[Evaluation, dict[str, Any]]:
    dataset = data_of(run, progress)
    canvases = pack(dataset, bundle.preprocess, cache=cache_folder(), on_bad="quarantine", progress=progress)
    if split == "val":
        evaluation = _score(bundle, canvases, run.split.val, split, progress)
        return evaluation, document(evaluation)
    opened = open_test(
        open_side_by_side(bundle),
        canvases,
        run.split,
        bundle.classes,
        ledger=run.ledger,
        by="evaluate",
        recipe_key=bundle.recipe_key,
        temperature=bundle.temperature,
        progress=progress,
    )
    found = contamination.of_run(run, dataset, canvases, run.split)
    return opened.evaluation, {**opened.document(), "provenance": contamination.summary(found, opened.evaluation)}


def data_of(run: Run, progress: Progress) -> Dataset:
    """The pictures that a run was made from. Raises SourceError, DataError."""
    request = run.read("request")
    if "source" not in request:
        raise FormatError(f"{run.path} is a training of a study, whose pictures the study chose.", "a run of `train`")
    return open_source(
        request["source"],
        class_names=None if request["class_names"] is None else Path(request["class_names"]),
        path_column=request["path_column"] or "",
        label_column=request["label_column"] or "",
        group_column=request["group_column"] or "",
        split_column=request["split_column"] or "",
        on_bad=request["on_bad"],
        progress=progress,
    )


def _score(bundle: Bundle, canvases: Pack, ids: Any, split: str, progress: Progress) -> Evaluation:
    return score(
        open_side_by_side(bundle),
        canvases,
        ids,
        bundle.classes,
        split=split,
        temperature=bundle.temperature,
        progress=progress,
    )


def _in_classes_of(bundle: Bundle, dataset: Dataset) -> Dataset:
    """The Dataset with labels that index the bundle's classes. Raises DataError where it has others."""
    place = {name: label for label, name in enumerate(bundle.classes)}
    unknown = [name for name in dataset.classes if name not in place]
    if unknown:
        raise DataError(
            f"{dataset.name} has classes that the model does not know: {', '.join(unknown[:10])}.",
            "some of " + ", ".join(bundle.classes[:20]),
            "rename them with --class-names.",
        )
    labels = np.array([place[name] for name in dataset.classes], np.int64)[dataset.labels]
    return replace(dataset, classes=tuple(bundle.classes), labels=labels)

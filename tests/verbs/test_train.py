"""The whole job on real digits and on folders: what it leaves behind, that it resumes, and how it refuses."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from lightmeter.errors import BudgetError, DataError, RecipeError, StorageError, UsageError, WeightsError
from lightmeter.models import MODELS
from lightmeter.models.base import layers
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT, Silent
from lightmeter.nouns.run import Run
from lightmeter.optim import build_optimizer
from lightmeter.runners import open_runner
from lightmeter.sources import open_source
from lightmeter.verbs.clock import Clock
from lightmeter.verbs.meter import build_prepared
from lightmeter.verbs.pack import pack
from lightmeter.verbs.prepare import prepare
from lightmeter.verbs.request import Request
from lightmeter.verbs.state import Counters, State
from lightmeter.verbs.train import TrainResult, train
from lightmeter.verbs.verify import sit_exam


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Three epochs on the digits."""
    places = tmp_path_factory.mktemp("places")
    before = os.environ.get("LIGHTMETER_CACHE")
    os.environ["LIGHTMETER_CACHE"] = str(places / "cache")
    try:
        return train("digits", epochs=3.0, out=places / "run", settings={"model.width": "0.25"})
    finally:
        if before is None:
            del os.environ["LIGHTMETER_CACHE"]
        else:
            os.environ["LIGHTMETER_CACHE"] = before


def test_a_run_holds_everything_it_promises(trained: TrainResult) -> None:
    run = Run.open(trained.run)
    names = "recipe split data environment plan request result"
    for name in names.split():
        assert (trained.run / f"{name}.json").stat().st_size > 0, name
    for name in (
        "epochs.jsonl",
        "history.csv",
        "weights/best.safetensors",
        "state/state.json",
        "evaluation/val.npz",
        "evaluation/test.npz",
        "ledger.jsonl",
        "report.html",
        "model.bundle/model.onnx",
    ):
        assert (trained.run / name).stat().st_size > 0, name
    assert run.read("recipe")["key"] == run.recipe.key()
    assert run.read("environment")["torch"]
    assert {phase["name"] for phase in run.read("plan")["phases"]} >= {"train", "decode and pack", "report"}


def test_the_result_is_what_the_files_say(trained: TrainResult) -> None:
    document = json.loads(json.dumps(trained.document()))
    test = Evaluation.load(trained.run / "evaluation" / "test.npz")
    assert document["test"] == pytest.approx(test.summary())
    assert document["test"]["n"] == len(Run.open(trained.run).split.test)
    assert document["test"]["accuracy"] > 0.8
    assert document["epochs"] == 3
    assert document["stopped"] == "schedule"
    assert document["exam"]["top1_flips"] == 0
    scores = Bundle.open(trained.bundle).scores
    assert scores["test"] == pytest.approx(test.summary())
    assert 0 < scores["calibration"]["target_error"] <= 0.05


def test_the_test_split_was_opened_once(trained: TrainResult) -> None:
    lines = [json.loads(line) for line in (trained.run / "ledger.jsonl").read_text().splitlines()]
    assert [(line["split"], line["by"]) for line in lines] == [("test", "train")]


def test_training_never_sees_a_test_picture(trained: TrainResult, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row that is read from the pack while a Training plans and learns belongs to train or val."""
    run = Run.open(trained.run)
    dataset = open_source("digits")
    packed = pack(dataset, run.recipe.preprocess, cache=cache_folder())
    seen: set[int] = set()

    class Watched(np.ndarray):
        def __getitem__(self, key: object) -> object:
            if isinstance(key, np.ndarray):
                seen.update(key.tolist())
            return super().__getitem__(key)

    watched = replace(packed, pixels=np.asarray(packed.pixels).view(Watched))
    other = Run.create(trained.run.parent / "watched")
    request = Request(source="digits", epochs=1.0, settings={"model.width": "0.25"})
    training = prepare(request, other, dataset, watched, run.split, Clock(time.monotonic(), None), SILENT)
    training.learn()
    allowed = set(packed.rows([*run.split.train, *run.split.val]).tolist())
    assert seen <= allowed
    assert len(seen) > 1000


def test_an_early_bundle_is_usable_and_says_how_long_training_may_last(
    trained: TrainResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(trained.run)
    dataset = open_source("digits")
    packed = pack(dataset, run.recipe.preprocess, cache=cache_folder())
    early = Run.create(trained.run.parent / "early")
    request = Request(source="digits", budget=500.0, settings={"model.width": "0.25"})
    clock = Clock(time.monotonic(), 500.0)
    training = prepare(request, early, dataset, packed, run.split, clock, SILENT)
    batches = training.data.batches(training.plan.recipe)
    counters = Counters(remaining=batches.n, micro_batch=64)
    model = training.model
    state = State(model, build_optimizer(model, training.plan.recipe.optimizer), None, counters)
    state.best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    until = training.early_bundle(state)
    assert until is not None
    assert 400 < until < 500
    assert sit_exam(Bundle.open(early.bundle), open_runner(Bundle.open(early.bundle))).top1_flips == 0
    assert not early.ledger.exists()


def planned_like(run: Path, path: Path) -> Path:
    """A run folder with another's request, split, recipe and plan, and nothing learnt: the same computation anew."""
    path.mkdir()
    for name in ("request", "split", "recipe", "plan"):
        shutil.copy(run / f"{name}.json", path)
    for name in ("weights", "evaluation"):
        (path / name).mkdir()
    return path


def weights(run: Path) -> dict[str, np.ndarray]:
    """The best weights of a run."""
    return load_file(run / "weights" / "best.safetensors")


def test_the_same_plan_gives_the_same_weights(trained: TrainResult, tmp_path: Path) -> None:
    again = train("digits", out=planned_like(trained.run, tmp_path / "run"), resume=True)
    first, second = weights(trained.run), weights(again.run)
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []
    assert again.document()["test"] == trained.document()["test"]


def test_a_finished_run_is_not_trained_again(trained: TrainResult) -> None:
    again = train("digits", out=trained.run, resume=True)
    assert again.document() == trained.document()
    with pytest.raises(StorageError, match="holds a run already"):
        train("digits", epochs=1.0, out=trained.run)
    with pytest.raises(UsageError, match="was trained on 'digits'"):
        train("fashion-mnist", out=trained.run, resume=True)
    with pytest.raises(UsageError, match="--resume was given without --out"):
        train("digits", resume=True)


def test_a_killed_training_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    """SIGTERM in the middle of a real command, then --resume; against the same plan that was left alone."""
    words = ["digits", "--epochs", "12", "--set", "model.width=0.25", "--json"]
    command = [sys.executable, "-m", "lightmeter", "train", *words]
    environment = {**os.environ, "LIGHTMETER_CACHE": str(tmp_path / "cache")}
    broken = tmp_path / "broken"
    process = subprocess.Popen(
        [*command, "--out", str(broken)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    epochs = broken / "epochs.jsonl"
    while not (epochs.exists() and epochs.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors.decode()
    assert b"--resume" in errors
    assert not (broken / "result.json").exists()
    whole = planned_like(broken, tmp_path / "whole")
    for path in (broken, whole):
        finished = subprocess.run(
            [*command, "--out", str(path), "--resume"], env=environment, check=True, capture_output=True, text=True
        )
        assert json.loads(finished.stdout.splitlines()[-1])["epochs"] == 12
    assert len(Run.open(broken).epochs()) == 12
    first, second = weights(whole), weights(broken)
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


def test_a_run_that_is_resumed_keeps_its_canvas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train("digits", epochs=1.0, settings={"model.width": "0.25"}, out=tmp_path / "run")
    (first.run / "result.json").unlink()  # as if it had been stopped before its report
    monkeypatch.setattr("lightmeter.verbs.canvas.choose_preprocess", lambda *_: pytest.fail("chosen again"))
    assert train("digits", out=first.run, resume=True).values["test"] == first.values["test"]


def digit_folder(path: Path, per_class: int = 12, classes: int = 3) -> Path:
    """Real digits as PNG files in class folders."""
    digits = load_digits()
    for label in range(classes):
        folder = path / f"digit {label}"
        folder.mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == label][:per_class]):
            Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)).resize((40, 33)).save(folder / f"{number}.png")
    return path


def test_good_and_broken_pictures_together(tmp_path: Path) -> None:
    folder = digit_folder(tmp_path / "photos")
    (folder / "digit 0" / "torn.png").write_bytes((folder / "digit 0" / "0.png").read_bytes()[:60])
    (folder / "digit 1" / "empty.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"--on-bad quarantine"):
        train(str(folder), epochs=1.0, out=tmp_path / "first")
    result = train(str(folder), epochs=2.0, out=tmp_path / "second", on_bad="quarantine")
    data = Run.open(result.run).read("data")
    assert data["n"] == 36
    assert {bad["id"].split("/")[-1] for bad in data["bad"]} == {"torn.png", "empty.png"}
    assert all(bad["reason"] for bad in data["bad"])
    assert (folder / "digit 0" / "torn.png").stat().st_size == 60


def test_a_budget_too_short_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"at least \d+ s on this machine"):
        train("digits", budget=2.0, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(BudgetError):
        train("digits", budget=2.0, out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_out_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        train("digits", epochs=1.0, out=tmp_path / "file" / "run")


def test_a_frozen_block_is_not_trained(tmp_path: Path) -> None:
    result = train("digits", epochs=1.0, freeze=("stage1",), settings={"model.width": "0.25"}, out=tmp_path / "run")
    recipe = Run.open(result.run).recipe
    assert recipe.freeze == ("stage1",)
    pixels = torch.zeros(4, 8, 8, 1, dtype=torch.uint8)
    start = build_prepared(recipe, 10, pixels).state_dict()
    kept = weights(result.run)
    assert np.array_equal(kept["stages.0.conv1.weight"], start["stages.0.conv1.weight"].numpy())
    assert np.array_equal(kept["stages.0.norm1.running_mean"], start["stages.0.norm1.running_mean"].numpy())
    assert not np.array_equal(kept["stages.1.conv1.weight"], start["stages.1.conv1.weight"].numpy())


def test_quarantine_may_not_empty_a_class(tmp_path: Path) -> None:
    folder = digit_folder(tmp_path / "photos")
    for path in (folder / "digit 2").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="digit 2"):
        train(str(folder), epochs=1.0, out=tmp_path / "run", on_bad="quarantine")
    assert not (tmp_path / "run").exists()


def test_options_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epochs"):
        train("digits", epochs=-1.0, out=tmp_path / "run")
    with pytest.raises(RecipeError, match=r"preprocess\.size|size"):
        train("digits", epochs=1.0, settings={"preprocess.size": "3"}, out=tmp_path / "run")
    with pytest.raises(RecipeError, match="no field 'colour'"):
        train("digits", epochs=1.0, settings={"preprocess.colour": "3"}, out=tmp_path / "run")
    result = train("digits", epochs=0.01, settings={"preprocess.fit": "pad"}, out=tmp_path / "run")
    assert Run.open(result.run).recipe.preprocess.fit == "pad"


def test_recipes_and_start_weights_must_fit_together(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe called 'fats'"):
        train("digits", epochs=1.0, recipe="fats", out=tmp_path / "a")
    with pytest.raises(RecipeError, match="without start weights"):
        train("digits", epochs=1.0, recipe="probe", out=tmp_path / "b")
    with pytest.raises(RecipeError, match="no field 'rate'"):
        train("digits", epochs=1.0, settings={"optimizer.rate": "1"}, out=tmp_path / "c")


def random_backbone(path: Path) -> dict[str, torch.Tensor]:
    """A MobileNetV2 without its head, written to `path`."""
    torch.manual_seed(0)
    backbone = {
        name: tensor
        for name, tensor in MODELS["mobilenet_v2"](2, channels=3, size=96).state_dict().items()
        if not name.startswith("classifier.")
    }
    save_file(backbone, path)
    return backbone


def test_from_start_weights_the_head_is_trained_first_and_then_what_is_not_frozen(tmp_path: Path) -> None:
    start = tmp_path / "random.safetensors"
    backbone = random_backbone(start)
    said: list[str] = []

    class Listening(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    result = train(
        str(digit_folder(tmp_path / "photos")),
        epochs=1.0,
        start=start,
        freeze=("stem", "block1", "-20"),
        out=tmp_path / "run",
        progress=Listening(),
    )
    recipe = Run.open(result.run).recipe
    assert recipe.freeze == ("batchnorm", "stem", "block1", "block2", "block3", "-20")
    assert recipe.probe_epochs > 0
    assert any(sentence.startswith("The head alone") for sentence in said)
    val = len(Run.open(result.run).split.val)
    assert any(f"is rough with {val} of them" in sentence for sentence in said)
    last = load_file(Run.open(result.run).state / "tensors.safetensors")  # the best epoch may be the head's own
    names = list(layers(MODELS["mobilenet_v2"](2, channels=3, size=96)))
    changed = {name for name, tensor in backbone.items() if not np.array_equal(last[f"module.{name}"], tensor.numpy())}
    assert {name.rpartition(".")[0] for name in changed} == {
        name for name in names[-20:] if f"{name}.weight" in backbone and f"{name}.running_mean" not in backbone
    }
    assert result.values["epochs"] == 1


def test_start_weights_keep_a_frozen_backbone_bit_for_bit(tmp_path: Path) -> None:
    start = tmp_path / "random.safetensors"
    backbone = random_backbone(start)
    result = train(
        str(digit_folder(tmp_path / "photos")), epochs=3.0, start=start, freeze=("all",), out=tmp_path / "run"
    )
    recipe = Run.open(result.run).recipe
    assert recipe.start.startswith("random@")
    assert recipe.freeze == ("all",)
    kept = load_file(result.run / "weights" / "best.safetensors")
    changed = [name for name, tensor in backbone.items() if not np.array_equal(kept[name], tensor.numpy())]
    assert changed == []
    assert {name for name in kept if name.startswith("classifier.")} == {"classifier.1.weight", "classifier.1.bias"}


def test_start_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    start = tmp_path / "other.safetensors"
    save_file({"some.weight": torch.zeros(3)}, start)
    with pytest.raises(WeightsError, match="no architecture known here"):
        train("digits", epochs=1.0, start=start, out=tmp_path / "run")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the disk: weights and graph pass it, the small documents do not."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    command = [sys.executable, "-m", "lightmeter", "train", "digits", "--epochs", "1", "--out", str(tmp_path / "run")]
    environment = {**os.environ, "LIGHTMETER_CACHE": str(tmp_path / "cache")}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=limit)
    assert finished.returncode == 2, finished.stderr
    assert "could not be written" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "run" / "model.bundle").exists()
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".old")] == []

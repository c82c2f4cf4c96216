"""What --start may name, what each brings along, and what a run passes on to those that start from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightmeter.errors import BundleError, FormatError, RecipeError, WeightsError
from lightmeter.models import MODELS
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.progress import Silent
from lightmeter.nouns.recipe import ModelChoice
from lightmeter.nouns.run import Run
from lightmeter.verbs import again
from lightmeter.verbs.export import write_bundle
from lightmeter.verbs.start import open_start
from lightmeter.verbs.train import train
from tests.bundles import Net, card


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from scratch on digits."""
    return train(
        "digits", epochs=1.0, settings={"model.width": "0.25"}, out=tmp_path_factory.mktemp("runs") / "first"
    ).run


def test_a_run_brings_its_model_its_canvas_and_what_it_saw(first: Path) -> None:
    start, run = open_start(str(first)), Run.open(first)
    assert start.path == run.weights
    assert start.identity.startswith("first@")
    assert (start.model, start.preprocess) == (run.recipe.model, run.recipe.preprocess)
    assert start.seen == (run.read("data")["fingerprint"],)


def test_a_bundle_brings_the_same(first: Path) -> None:
    run, start = open_start(str(first)), open_start(str(first / "model.bundle"))
    assert (start.model, start.preprocess, start.seen) == (run.model, run.preprocess, run.seen)
    assert start.identity.startswith("first@")
    assert start.path == first / "model.bundle" / "weights.safetensors"


def test_training_goes_on_from_a_run_on_its_canvas_and_passes_on_what_was_seen(
    first: Path, tmp_path: Path, own_photos: Path
) -> None:
    before = Run.open(first)
    result = train(str(own_photos), epochs=1.0, start=str(first), out=tmp_path / "second")
    run = Run.open(result.run)
    assert run.recipe.start == open_start(str(first)).identity
    assert run.recipe.preprocess == before.recipe.preprocess
    assert (run.recipe.model.name, run.recipe.model.width) == ("whitened", 0.25)
    seen = [before.read("data")["fingerprint"], run.read("data")["fingerprint"]]
    assert Bundle.open(run.bundle).provenance["seen"] == seen
    assert open_start(str(result.run)).seen == open_start(str(run.bundle)).seen == tuple(seen)
    again.export(result.run, tmp_path / "again.bundle")
    assert Bundle.open(tmp_path / "again.bundle").provenance == Bundle.open(run.bundle).provenance


def test_layers_that_are_not_there_are_refused_before_anything_is_decoded(first: Path, tmp_path: Path) -> None:
    class Heard(Silent):
        said: ClassVar[list[str]] = []

        def say(self, text: str) -> None:
            self.said.append(text)

    for asked in ("400", "block9"):
        with pytest.raises(RecipeError, match=r"layers|no block or layer"):
            train("digits", epochs=1.0, start=str(first), freeze=(asked,), out=tmp_path / "run", progress=Heard())
    assert not (tmp_path / "run").exists()
    assert not any("pictures of 10 classes" in text or "Measuring" in text for text in Heard.said)


@pytest.fixture
def own_photos(tmp_path: Path) -> Path:
    """Three classes of digits as files."""
    from PIL import Image
    from sklearn.datasets import load_digits

    data = load_digits()
    for row, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        if label < 3 and row < 900:
            path = tmp_path / "photos" / f"n{label}" / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype("uint8")).save(path)
    return tmp_path / "photos"


def noted(path: Path, note: Any) -> Path:
    state = MODELS["resnet18"](2, channels=3, size=96, width=0.125).state_dict()
    save_file(state, path, {"lightmeter": note if isinstance(note, str) else json.dumps(note)})
    return path


@pytest.mark.parametrize("name", ["os:system", "own_models:net"])
def test_a_file_may_not_choose_code_to_import(name: str, tmp_path: Path) -> None:
    path = noted(tmp_path / "w.safetensors", {"format": 1, "model": {"name": name}})
    with pytest.raises(WeightsError, match=rf"(?s)built by {name}.*--set model.name={name}"):
        open_start(str(path))
    assert open_start(str(path), builder=name).model == ModelChoice(name=name)


def test_nor_may_a_bundle(tmp_path: Path) -> None:
    given = card(provenance={"model": {"name": "os:system"}})
    write_bundle(tmp_path / "b.bundle", Net().eval(), **given)
    with pytest.raises(WeightsError, match="built by os:system"):
        open_start(str(tmp_path / "b.bundle"))


def test_a_bundle_of_before_says_no_model(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b.bundle", Net().eval(), **card(provenance={"fingerprint": "abc"}))
    start = open_start(str(tmp_path / "b.bundle"))
    assert (start.model, start.seen) == (None, ("abc",))
    assert start.preprocess == Preprocess(size=24, channels=3)


@pytest.mark.parametrize("note", ["no json", "[]", {"format": 2}, {"format": 1, "model": 3}, {"format": 1, "extra": 1}])
def test_a_note_that_is_none_of_ours_is_refused(note: Any, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"(?s)What w.safetensors says of itself.*import the original"):
        open_start(str(noted(tmp_path / "w.safetensors", note)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nowhere.safetensors", "There is no file"),
        ("some/where/net.pth", "weights import some/where/net.pth"),
        ("mobilnet", r"(?s)no weights 'mobilnet'.*mobilenet_v2.*weights list"),
        ("resnet18", "lightmeter weights fetch resnet18"),
        ("mobilenet_v2_1.0_imagenet_backbone", "--from FILE"),
        ("../resnet18", r"no weights '\.\./resnet18'"),
    ],
)
def test_what_is_not_there_is_said_with_what_helps(text: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        open_start(text)


def test_folders_that_are_no_run_and_runs_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no run"):
        open_start(str(tmp_path))
    Run.create(tmp_path / "run").write("request", {})
    with pytest.raises(WeightsError, match=r"(?s)a run without weights.*--resume"):
        open_start(str(tmp_path / "run"))


def test_a_damaged_bundle_is_refused(first: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(first / "model.bundle", tmp_path / "b.bundle")
    weights = load_file(copy / "weights.safetensors")
    save_file({name: torch.zeros_like(value) for name, value in weights.items()}, copy / "weights.safetensors")
    with pytest.raises(BundleError, match=r"weights.safetensors was changed"):
        open_start(str(copy))


def test_a_run_is_not_resumed_with_other_weights(tmp_path: Path, own_photos: Path, first: Path) -> None:
    ancestor = Run.open(shutil.copytree(first, tmp_path / "ancestor"))
    run = train(str(own_photos), epochs=1.0, start=ancestor.path, out=tmp_path / "run").run
    (run / "result.json").unlink()  # as if it had been stopped before its report
    state = {name: value + value.is_floating_point() for name, value in load_file(ancestor.weights).items()}
    save_file(state, ancestor.weights)
    with pytest.raises(WeightsError, match=r"began from ancestor@.*, and .* is ancestor@.* now"):
        train(str(own_photos), out=run, resume=True)

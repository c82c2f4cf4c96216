"""The training pictures that travel with a bundle are spread over its classes, and the nearest is found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.examples import FILE
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.progress import SILENT
from lightmeter.nouns.run import Run
from lightmeter.runners import features_of, open_runner
from lightmeter.verbs.again import data_of, export
from lightmeter.verbs.neighbours import Neighbours
from lightmeter.verbs.pack import pack
from lightmeter.verbs.train import train
from lightmeter.verbs.verify import verify


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("digits") / "run"
    return Run.open(train("digits", epochs=4.0, settings={"model.width": "0.5"}, out=out).run)


@pytest.fixture(scope="module")
def bundle(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("digits") / "model.bundle"
    assert export(run.path, out, examples=205)["examples"] == 205
    return Bundle.open(out)


def test_a_bundle_carries_none_unless_they_are_asked_for(run: Run) -> None:
    plain = Bundle.open(run.bundle)
    runner = open_runner(plain)
    assert FILE not in plain.files
    assert Neighbours.of(plain, runner) is None
    assert features_of(runner, plain.exam().canvases) is None


def test_they_are_training_pictures_evenly_from_each_class(run: Run, bundle: Bundle) -> None:
    assert verify(bundle.path).top1_flips == 0
    found = Neighbours(bundle, open_runner(bundle)).examples
    assert len(found) == len(set(found.ids)) == 205
    assert set(found.ids) <= set(run.split.train)
    counts = Counter(found.labels.tolist())
    assert len(counts) == 10
    assert set(counts.values()) == {20, 21}


def test_a_picture_that_is_among_them_is_its_own_nearest(bundle: Bundle) -> None:
    neighbours = Neighbours(bundle, open_runner(bundle))
    examples = neighbours.examples
    assert examples.canvases.shape[1] == bundle.preprocess.size  # digits are small: nothing was shrunk
    for row, nearest in enumerate(neighbours.nearest(examples.canvases, 3)):
        assert nearest[0].similarity == pytest.approx(1, abs=1e-3)
        assert nearest[0].id == examples.ids[row] or nearest[0].similarity - nearest[1].similarity < 1e-3
        assert nearest[0].similarity >= nearest[1].similarity >= nearest[2].similarity
    assert neighbours.nearest(examples.canvases[:0], 3) == []
    assert neighbours.picture(0).startswith(b"\x89PNG")


def test_new_pictures_lie_near_their_kind(run: Run, bundle: Bundle) -> None:
    canvases = pack(data_of(run, SILENT), bundle.preprocess, cache=cache_folder())
    rows = canvases.rows(run.split.val)
    found = Neighbours(bundle, open_runner(bundle)).nearest(np.asarray(canvases.pixels[rows]), 1)
    right = [some[0].label == bundle.classes[label] for some, label in zip(found, canvases.labels[rows], strict=True)]
    assert np.mean(right) > 0.8


def test_large_canvases_travel_small(tmp_path: Path) -> None:
    from PIL import Image

    for row in range(24):
        path = tmp_path / "photos" / f"kind {row % 2}" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(row).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(noise).resize((96, 96)).save(path)
    settings = {"model.width": "0.25", "preprocess.size": "96", "views": "1"}
    made = train(str(tmp_path / "photos"), epochs=1.0, settings=settings, out=tmp_path / "run")
    found = export(made.run, examples=1000)
    bundle = Bundle.open(Run.open(made.run).bundle)
    neighbours = Neighbours.of(bundle, open_runner(bundle))
    assert neighbours is not None
    assert len(neighbours.examples) == found["examples"] == len(Run.open(made.run).split.train)
    assert neighbours.examples.canvases.shape[1:] == (64, 64, 3)

"""What a model had seen travels with it and is found again: by name, by hash, by likeness; and what nobody knows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightmeter.errors import FormatError
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.files import write_json
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.places import cache_folder
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.provenance import COPY, IMAGENET, NEAR_DUPLICATE, NO_TWIN, TOO_PLAIN, Contamination
from lightmeter.nouns.run import Run
from lightmeter.nouns.seen import FILE, Seen
from lightmeter.nouns.split import Split
from lightmeter.sources import open_source
from lightmeter.verbs import again, contamination
from lightmeter.verbs.evaluate import times_opened
from lightmeter.verbs.export import write_bundle
from lightmeter.verbs.pack import pack
from lightmeter.verbs.published import PUBLISHED
from lightmeter.verbs.train import TrainResult, train
from tests.bundles import Net, card
from tests.nouns.photographs import EDITS, jpeg, photographs

CLASSES = ("dark", "light")
SIZE = 40


def write(folder: Path, pixels: np.ndarray[Any, np.dtype[np.uint8]], label: str, name: str) -> None:
    (folder / label).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / label / name)


def photos(folder: Path, n: int, seed: int) -> Path:
    """n pictures in each of two classes, told apart by their brightness."""
    for label, name in enumerate(CLASSES):
        for row, pixels in enumerate(photographs(n, SIZE, seed + label)):
            write(folder, (pixels // 2 + 100 * label).astype(np.uint8), name, f"{seed}_{row:03d}.png")
    return folder


def opened(folder: Path, size: int = 32) -> tuple[Dataset, Pack]:
    dataset = open_source(str(folder))
    return dataset, pack(dataset, Preprocess(size=size, channels=3), cache=cache_folder())


def verdicts(found: Contamination) -> dict[str, tuple[str, str]]:
    return dict(zip(found.ids, zip(found.verdicts, found.whys, strict=True), strict=True))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    """A folder of pictures, and a run from scratch on it."""
    folder = photos(tmp_path_factory.mktemp("first") / "photos", 60, seed=1)
    result = train(
        str(folder), epochs=1.0, out=folder.parent / "run", settings={"model.width": "0.25", "preprocess.size": "32"}
    )
    return folder, result


@pytest.fixture(scope="module")
def mixed(first: tuple[Path, TrainResult], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New pictures, and among them twins of what the first run learned from, named by what was done to them."""
    folder, run = first[0], Run.open(first[1].run)
    mixed = photos(tmp_path_factory.mktemp("second") / "photos", 40, seed=100)
    learned = (*run.split.train, *run.split.val)[::4]
    for row, id in enumerate(learned[:20]):
        label = id.split("/")[0]
        pixels = np.asarray(Image.open(folder / id))
        kind = ("copy", "repacked", "jpeg", "brighter")[row % 4]
        target = mixed / label / f"{kind}_{row:02d}.{'jpg' if kind == 'jpeg' else 'png'}"
        if kind == "copy":
            shutil.copyfile(folder / id, target)
        elif kind == "repacked":  # other bytes, the same pixels
            Image.fromarray(pixels).save(target, compress_level=1)
        elif kind == "jpeg":
            target.write_bytes(jpeg(pixels, 70))
        else:
            Image.fromarray(np.clip(pixels * 1.1, 0, 255).astype(np.uint8)).save(target)
    for label, shade in zip(CLASSES, (50, 200), strict=True):
        write(mixed, np.full((SIZE, SIZE, 3), shade, np.uint8), label, "plain.png")
    return mixed


def expected(id: str) -> tuple[str, str]:
    kind = id.split("/")[-1].split("_")[0].split(".")[0]
    if kind in ("copy", "repacked"):
        return "contaminated", COPY
    if kind in ("jpeg", "brighter"):
        return "contaminated", NEAR_DUPLICATE
    return ("unknown", TOO_PLAIN) if kind == "plain" else ("clean", NO_TWIN)


def test_a_run_notes_what_its_model_has_seen_and_the_bundle_carries_it(first: tuple[Path, TrainResult]) -> None:
    run = Run.open(first[1].run)
    seen, split = Seen.load(run.path / FILE), run.split
    assert len(seen) == len(split.train) + len(split.val)
    assert seen.data == (run.read("data")["fingerprint"],) and not seen.public and not seen.missing
    assert FILE in Bundle.open(run.bundle).files
    assert (run.bundle / FILE).read_bytes() == (run.path / FILE).read_bytes()
    past = run.read("result")["provenance"]
    assert past["clean"]["n"] == len(split.test) == past["clean"]["n"] + past["contaminated"]["n"]
    assert times_opened(run.ledger) == 1


def test_twins_of_what_was_learned_are_found_in_other_data(first: tuple[Path, TrainResult], mixed: Path) -> None:
    bundle = Bundle.open(first[1].bundle)
    dataset, canvases = opened(mixed)
    found = contamination.judge(dataset, canvases, dataset.ids, contamination.of_bundle(bundle))
    assert verdicts(found) == {id: expected(id) for id in dataset.ids}
    evaluation, document = again.evaluate(first[1].bundle, str(mixed))
    past = document["provenance"]
    assert {kind: past[kind]["n"] for kind in ("clean", "contaminated", "unknown")} == {
        "clean": 80,
        "contaminated": 20,
        "unknown": 2,
    }
    assert past["why"] == {NO_TWIN: 80, COPY: 10, NEAR_DUPLICATE: 10, TOO_PLAIN: 2}
    clean = np.array([expected(id)[0] == "clean" for id in evaluation.ids])
    assert past["clean"]["accuracy"] == pytest.approx(evaluation.correct[clean].mean())


def test_what_an_ancestor_saw_is_handed_on(first: tuple[Path, TrainResult], mixed: Path, tmp_path: Path) -> None:
    """A run that starts from the first knows its pictures among its own test pictures, and so do its heirs."""
    for name, start in (("by-run", first[1].run), ("by-bundle", first[1].bundle)):
        run = Run.create(tmp_path / name)
        run.write("start", {"path": str(_weights(start)), "identity": "first@0123456789abcdef", "seen": []})
        dataset, canvases = opened(mixed)
        twins = [id for id in dataset.ids if expected(id)[0] == "contaminated"]
        rest = [id for id in dataset.ids if id not in twins]
        split = Split(tuple(rest[10:]), tuple(rest[:10]), tuple(twins), dataset.fingerprint, {}, 0)
        found = contamination.examine(run, dataset, canvases, split)
        assert verdicts(found) == {id: expected(id) for id in twins}
        seen = Seen.load(run.path / FILE)
        assert seen.data == (dataset.fingerprint, Run.open(first[1].run).read("data")["fingerprint"])
        assert verdicts(contamination.read(run.path)) == verdicts(found)


def _weights(path: Path) -> Path:
    return path / "weights.safetensors" if (path / "bundle.json").is_file() else Run(path).weights


def test_without_an_ancestor_they_are_new(mixed: Path, tmp_path: Path) -> None:
    dataset, canvases = opened(mixed)
    twins = [id for id in dataset.ids if expected(id)[0] == "contaminated"]
    rest = [id for id in dataset.ids if id not in twins and "plain" not in id]
    split = Split(tuple(rest[10:]), tuple(rest[:10]), tuple(twins), dataset.fingerprint, {}, 0)
    found = contamination.examine(Run.create(tmp_path / "run"), dataset, canvases, split)
    assert set(found.verdicts) == {"clean"}


def test_near_duplicates_across_one_folders_own_split_are_named(tmp_path: Path) -> None:
    folder = photos(tmp_path / "photos", 50, seed=7)
    for row in range(6):
        source = folder / "dark" / f"7_{row:03d}.png"
        pixels = np.asarray(Image.open(source))
        write(folder, EDITS["jpeg"](EDITS["mirrored"](pixels)), "dark", f"twin_{row}.png")
    dataset, canvases = opened(folder)
    twins = tuple(id for id in dataset.ids if "twin" in id)
    rest = [id for id in dataset.ids if id not in twins]
    split = Split(tuple(rest[10:]), tuple(rest[:10]), (*twins,), dataset.fingerprint, {}, 0)
    found = contamination.examine(Run.create(tmp_path / "run"), dataset, canvases, split)
    assert set(found.whys) == {NEAR_DUPLICATE}
    assert dict(found.pairs) == {f"dark/twin_{row}.png": f"dark/7_{row:03d}.png" for row in range(6)}


def start_document(names: list[str], identity: str) -> dict[str, Any]:
    return {"path": "gone/weights.safetensors", "identity": identity, "seen": names}


PUBLISHED_ONE = "x@" + PUBLISHED["mobilenet_v2_1.0_imagenet_backbone"].checksum.removeprefix("sha256:")[:16]


@pytest.mark.parametrize(
    ("names", "identity", "public", "missing"),
    [
        ([IMAGENET], "a@0123456789abcdef", (IMAGENET,), ()),
        ([], PUBLISHED_ONE, (IMAGENET,), ()),
        ([], "a@0123456789abcdef", (), ("a@0123456789abcdef",)),
        ([], "a", (), ("a",)),
        ([IMAGENET, "f" * 64], "a@0123456789abcdef", (IMAGENET,), ("f" * 64,)),
    ],
)
def test_start_weights_without_hashes_are_known_by_names(
    names: list[str], identity: str, public: tuple[str, ...], missing: tuple[str, ...], tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run")
    run.write("start", start_document(names, identity))
    seen = contamination.before(run)
    assert (seen.public, seen.missing, len(seen)) == (public, missing, 0)


def test_where_nobody_knows_nothing_is_called_clean(mixed: Path) -> None:
    dataset, canvases = opened(mixed)
    found = contamination.judge(dataset, canvases, dataset.ids, Seen.nothing(missing=["mystery@0123456789abcdef"]))
    assert set(found.verdicts) == {"unknown"}
    assert "mystery@0123456789abcdef" in found.whys[0]


@pytest.mark.parametrize(
    ("provenance", "public", "missing"),
    [
        ({"fingerprint": "abc", "start": "scratch"}, (), ("abc",)),
        ({"fingerprint": "abc", "start": PUBLISHED_ONE}, (IMAGENET,), ("abc",)),
        ({"fingerprint": "abc", "start": "a@1", "seen": [IMAGENET, "abc"]}, (IMAGENET,), ("abc",)),
        ({"fingerprint": "abc", "start": "a@1", "seen": ["abc"]}, (), ("a@1", "abc")),
    ],
)
def test_a_bundle_of_before_says_what_its_card_says(
    provenance: dict[str, Any], public: tuple[str, ...], missing: tuple[str, ...], tmp_path: Path
) -> None:
    write_bundle(tmp_path / "b.bundle", Net().eval(), **card(provenance=provenance))
    seen = contamination.of_bundle(Bundle.open(tmp_path / "b.bundle"))
    assert (seen.public, seen.missing) == (public, missing)


def test_a_run_of_before_is_looked_at_when_it_is_scored_again(first: tuple[Path, TrainResult], tmp_path: Path) -> None:
    old = Path(shutil.copytree(first[1].run, tmp_path / "old"))
    kept = contamination.read(old)
    for name in (FILE, contamination.DOCUMENT):
        (old / name).unlink()
    dataset, canvases = opened(first[0])
    run = Run.open(old)
    assert verdicts(contamination.of_run(run, dataset, canvases, run.split)) == verdicts(kept)
    assert not (old / FILE).exists()  # a run is not edited after it ended


def test_a_broken_judgement_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / contamination.DOCUMENT, {"format": 1, "groups": [{}], "pairs": [], "seen": []})
    with pytest.raises(FormatError, match="cannot be read"):
        contamination.read(tmp_path)


def test_imagenette_under_imagenet_weights(named_set: Callable[[str], Path]) -> None:
    """Of 3,925 held-out pictures, ImageNet's training part holds all but the 134 that are named as held out there."""
    named_set("imagenette")
    dataset = open_source("imagenette")
    ids = [id for id, part in zip(dataset.ids, dataset.splits, strict=True) if part == "val"]
    few = dataset.select(ids)
    # the names decide: one canvas for all will do, too plain to be like another
    blank = Pack(
        Path("unused"),
        tuple(ids),
        few.labels,
        np.zeros((len(ids), 8, 8, 3), np.uint8),
        ("0" * 32,) * len(ids),
        (),
        {},
        Preprocess(size=8, channels=3),
        few.fingerprint,
        {},
    )
    found = contamination.judge(few, blank, ids, Seen.nothing(public=[IMAGENET]))
    assert (len(ids), found.verdicts.count("clean"), found.verdicts.count("contaminated")) == (3925, 134, 3791)
    assert {id for id, (verdict, _) in verdicts(found).items() if verdict == "clean"} == {
        id for id in ids if "ILSVRC2012_val_" in id
    }
    json.dumps(found.summary(ids, np.ones(len(ids), bool)), allow_nan=False)

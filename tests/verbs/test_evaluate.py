from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lightmeter.errors import DataError, FormatError, StorageError, TrainingError
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.split import Split
from lightmeter.runners.side_by_side import SideBySide
from lightmeter.verbs.evaluate import open_test, score, times_opened

CLASSES = ("a", "b", "c")


@pytest.fixture
def pack() -> Pack:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (50, 8, 8, 1), dtype=np.uint8)
    ids = tuple(f"{row}.png" for row in range(50))
    preprocess = Preprocess(size=8, channels=1)
    return Pack(Path("none"), ids, np.arange(50) % 3, pixels, ids, (), {}, preprocess, "", {})


def logits_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    return np.stack([flat[:, :5].mean(1), flat[:, 5:10].mean(1), flat[:, 10:].mean(1)], axis=1)


def split_of(pack: Pack) -> Split:
    return Split(pack.ids[:30], pack.ids[30:40], pack.ids[40:], "f" * 64, {"test": "drawn"}, 0)


@pytest.mark.parametrize("batch_size", [1, 7, 49, 50, 1000])
def test_exactly_the_pictures_named_are_scored_in_their_order(pack: Pack, batch_size: int) -> None:
    ids = tuple(np.random.default_rng(1).permutation(pack.ids)[:37].tolist())
    seen: list[int] = []

    def watched(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(pixels))
        return logits_of(pixels)

    e = score(watched, pack, ids, CLASSES, split="val", temperature=2.0, batch_size=batch_size)
    assert sum(seen) == 37 and max(seen) <= batch_size
    assert e.ids == ids and e.split == "val" and e.temperature == 2.0
    for row, id in enumerate(ids):  # one by one, the obvious way
        place = pack.ids.index(id)
        np.testing.assert_array_equal(e.logits[row], logits_of(pack.pixels[place : place + 1])[0])
        assert e.labels[row] == pack.labels[place]


def test_a_runner_with_many_lanes_is_given_enough_for_all_of_them(pack: Pack) -> None:
    seen: list[int] = []

    def watched(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.append(len(pixels))
        return logits_of(pixels)

    lanes = SideBySide(watched, 3)
    found = score(lanes, pack, pack.ids, CLASSES, split="val", batch_size=1)
    assert lanes.at_once == 48
    assert sorted(seen) == [1, 1, *[2] * 24]  # 48 of them at once, then the last two
    np.testing.assert_array_equal(found.logits, score(logits_of, pack, pack.ids, CLASSES, split="val").logits)


def test_progress_counts_every_picture(pack: Pack) -> None:
    import contextlib

    counted: list[int] = []

    class Counting:
        @contextlib.contextmanager
        def track(self, title, total, unit):  # type: ignore[no-untyped-def]
            assert total == 50 and unit == "images"
            yield counted.append

        def say(self, text: str) -> None: ...

    score(logits_of, pack, pack.ids, CLASSES, split="val", batch_size=16, progress=Counting())
    assert sum(counted) == 50


def test_unknown_doubled_and_absent_pictures_are_refused(pack: Pack) -> None:
    with pytest.raises(DataError, match=r"Of 2 pictures 1 cannot be found in the data, such as 'gone.png'"):
        score(logits_of, pack, ("1.png", "gone.png"), CLASSES, split="val")
    with pytest.raises(DataError, match="more than once"):
        score(logits_of, pack, ("1.png", "1.png"), CLASSES, split="val")
    with pytest.raises(DataError, match="no picture"):
        score(logits_of, pack, (), CLASSES, split="val")
    with pytest.raises(TrainingError, match="no finite score"):
        score(lambda x: logits_of(x) * np.float32(np.nan), pack, ("1.png",), CLASSES, split="val")


def test_every_opening_of_the_test_split_stands_in_the_ledger(pack: Pack, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    assert times_opened(ledger) == 0
    for times, by in ((1, "train"), (2, "evaluate")):
        found = open_test(logits_of, pack, split_of(pack), CLASSES, ledger=ledger, by=by, recipe_key="k")
        assert found.times == times == times_opened(ledger)
        assert found.evaluation.ids == split_of(pack).test and found.evaluation.split == "test"
        assert found.document()["opened"] == times
        json.dumps(found.document(), allow_nan=False)
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["by"] for line in lines] == ["train", "evaluate"]
    assert set(lines[0]) == {"time", "split", "n", "fingerprint", "by", "recipe_key"}
    assert (lines[0]["n"], lines[0]["fingerprint"], lines[0]["split"]) == (10, "f" * 64, "test")


def test_an_opening_that_fails_half_way_is_recorded_too(pack: Pack, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"

    def breaks(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert times_opened(ledger) == 1, "scores must not exist before the ledger says so"
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        open_test(breaks, pack, split_of(pack), CLASSES, ledger=ledger, by="train", recipe_key="k")
    assert times_opened(ledger) == 1


def test_no_ledger_no_scores(pack: Pack, tmp_path: Path) -> None:
    def never(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise AssertionError("scored without a ledger")

    ledger = tmp_path / "no such folder" / "ledger.jsonl"
    with pytest.raises(StorageError):
        open_test(never, pack, split_of(pack), CLASSES, ledger=ledger, by="train", recipe_key="k")


def test_a_broken_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"split": "te')
    with pytest.raises(FormatError, match="not readable"):
        times_opened(tmp_path / "ledger.jsonl")

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from lightmeter.errors import DataError, FormatError, StorageError, TrainingError
from lightmeter.nouns.evaluation import BINS, Evaluation, log_softmax, wilson


def made(n: int = 300, k: int = 10, *, seed: int = 0, skill: float = 2.0, temperature: float = 1.0) -> Evaluation:
    random = np.random.default_rng(seed)
    labels = random.integers(0, k, n)
    logits = random.normal(size=(n, k)).astype(np.float32)
    logits[np.arange(n), labels] += np.float32(skill)
    ids = tuple(f"test/{row:05d}.png" for row in range(n))
    return Evaluation(ids, logits, labels, tuple(f"class {c}" for c in range(k)), "test", temperature)


SHAPES = [(300, 10, 0), (7, 2, 1), (50, 3, 2), (1, 2, 3), (500, 200, 4)]


@pytest.mark.parametrize(("n", "k", "seed"), SHAPES)
def test_shares_are_those_of_scikit_learn(n: int, k: int, seed: int) -> None:
    e = made(n, k, seed=seed, skill=1.0)
    classes = np.arange(k)
    table = metrics.precision_recall_fscore_support(e.labels, e.predicted, labels=classes, zero_division=0)
    for name, column in zip(("precision", "recall", "f1", "support"), table, strict=True):
        np.testing.assert_allclose([row[name] for row in e.per_class], column, atol=1e-12)
    for average in ("micro", "macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(
            e.labels, e.predicted, labels=classes, average=average, zero_division=0
        )
        ours = e.averages[average]
        assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(expected[:3], abs=1e-12)
        assert ours["support"] == n
    np.testing.assert_array_equal(e.confusion, metrics.confusion_matrix(e.labels, e.predicted, labels=classes))
    assert e.accuracy == pytest.approx(metrics.accuracy_score(e.labels, e.predicted), abs=1e-15)
    assert e.loss == pytest.approx(metrics.log_loss(e.labels, e.probabilities, labels=classes), abs=1e-9)
    if k > 5:
        assert e.top5 == metrics.top_k_accuracy_score(e.labels, e.logits, k=5, labels=classes)
    else:
        assert e.top5 == 1.0


def test_the_report_is_the_text_that_scikit_learn_prints() -> None:
    e = made()
    expected = metrics.classification_report(e.labels, e.predicted, target_names=list(e.classes))
    assert e.classification_report() == expected


def slow_wilson(k: int, n: int) -> tuple[float, float]:
    """The two p at which |k/n - p| is exactly z standard errors of p, by bisection."""
    z, share = 1.959963984540054, k / n

    def outside(p: float) -> bool:
        return abs(share - p) > z * math.sqrt(p * (1 - p) / n)

    ends = []
    for far in (0.0, 1.0):
        inside = share
        for _ in range(200):
            middle = (inside + far) / 2
            inside, far = (inside, middle) if outside(middle) else (middle, far)
        ends.append(inside)
    return ends[0], ends[1]


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=100, deadline=None)
def test_wilson_solves_its_own_definition_and_stays_inside_0_and_1(counts: tuple[int, int]) -> None:
    k, n = counts
    low, high = (float(end) for end in wilson(k, n))
    assert (low, high) == pytest.approx(slow_wilson(k, n), abs=1e-9)
    assert 0 <= low <= k / n <= high <= 1


def test_wilson_against_published_numbers_and_over_arrays() -> None:
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3
    for k, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert [float(end) for end in wilson(k, n)] == pytest.approx([low, high], abs=5e-5)
    lows, highs = wilson([0, 5, 10, 0], [10, 10, 10, 0])
    assert lows[0] == 0 and highs[2] == 1
    assert (lows[3], highs[3]) == (0, 1)  # nothing seen, nothing known


def slow_ece(e: Evaluation) -> float:
    total = 0.0
    for b in range(BINS):
        inside = [
            row for row in range(e.n) if b / BINS < e.confidence[row] <= (b + 1) / BINS or (b == 0 == e.confidence[row])
        ]
        if inside:
            right = sum(bool(e.correct[row]) for row in inside) / len(inside)
            sure = sum(float(e.confidence[row]) for row in inside) / len(inside)
            total += len(inside) / e.n * abs(right - sure)
    return total


@pytest.mark.parametrize(("n", "k", "seed"), SHAPES)
def test_ece_is_its_obvious_twin(n: int, k: int, seed: int) -> None:
    e = made(n, k, seed=seed, temperature=0.7)
    assert e.ece == pytest.approx(slow_ece(e), abs=1e-12)
    assert e.reliability["count"].sum() == n


def test_a_certain_and_right_model_has_no_calibration_error_and_a_certain_and_wrong_one_all_of_it() -> None:
    labels = np.array([0, 1, 0, 1])
    sure = np.array([[80, -80], [-80, 80], [80, -80], [-80, 80]], np.float32)
    assert Evaluation(("a", "b", "c", "d"), sure, labels, ("x", "y"), "val").ece == 0
    assert Evaluation(("a", "b", "c", "d"), sure, 1 - labels, ("x", "y"), "val").ece == 1


def test_top5_of_equal_logits_takes_the_first_classes() -> None:
    e = Evaluation(("a", "b"), np.zeros((2, 10), np.float32), np.array([4, 5]), tuple("abcdefghij"), "val")
    assert e.top5 == 0.5
    for row, label in enumerate(e.labels):  # the obvious twin
        assert (label in np.argsort(-e.logits[row], kind="stable")[:5]) == (row == 0)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e30])
def test_softmax_is_stable_and_shift_free(size: float) -> None:
    logits = (np.random.default_rng(0).normal(size=(20, 5)) * size).astype(np.float32)
    p = np.exp(log_softmax(logits))
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
    if size == 1.0:
        plain = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(p, plain, atol=1e-14)
        np.testing.assert_allclose(np.exp(log_softmax(logits.astype(np.float64) + 1000)), p, atol=1e-11)


def test_a_temperature_changes_loss_and_ece_but_no_prediction() -> None:
    raw, cool = made(), made(temperature=0.5)
    np.testing.assert_array_equal(raw.predicted, cool.predicted)
    assert raw.accuracy == cool.accuracy
    assert raw.loss != cool.loss and raw.ece != cool.ece
    scaled = Evaluation(raw.ids, raw.logits * 2, raw.labels, raw.classes, raw.split)
    assert cool.loss == pytest.approx(scaled.loss, abs=1e-9)


def test_lists_of_pictures_to_look_at() -> None:
    e = made(skill=0.5)
    worst = e.worst_mistakes(12)
    assert not e.correct[worst].any()
    wrong = np.flatnonzero(~e.correct)
    expected = sorted(wrong.tolist(), key=lambda row: (-e.confidence[row], row))[:12]
    assert worst.tolist() == expected
    assert e.least_certain(5).tolist() == sorted(range(e.n), key=lambda row: (e.confidence[row], row))[:5]
    perfect = made(20, skill=100.0)
    assert perfect.worst_mistakes(12).tolist() == [] and perfect.confusions(5) == []
    seen: dict[tuple[int, int], int] = {}
    for label, named in zip(e.labels.tolist(), e.predicted.tolist(), strict=True):
        if label != named:
            seen[label, named] = seen.get((label, named), 0) + 1
    ranked = sorted(((*pair, count) for pair, count in seen.items()), key=lambda row: (-row[2], row[0], row[1]))
    assert e.confusions(7) == ranked[:7]


def test_the_summary_holds_what_the_command_line_promises() -> None:
    e = made(500, skill=4.0)
    assert list(e.summary()) == ["n", "accuracy", "low", "high", "top5", "loss", "ece"]
    assert e.summary()["low"] < e.summary()["accuracy"] < e.summary()["high"]
    json.dumps({"summary": e.summary(), "per_class": e.per_class, "averages": e.averages}, allow_nan=False)


def test_exactly_what_was_saved_is_read_back(tmp_path: Path) -> None:
    ids = ("a b/ü.png", "trailing\0", "lone \udcff surrogate", "", "x" * 3000)
    logits = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    e = Evaluation(ids, logits, np.array([0, 1, 1, 0, 1]), ("<script>", "日本"), "test", 1.37)
    e.save(tmp_path / "evaluation" / "test.npz")
    back = Evaluation.load(tmp_path / "evaluation" / "test.npz")
    assert (back.ids, back.classes, back.split, back.temperature) == (e.ids, e.classes, "test", 1.37)
    np.testing.assert_array_equal(back.logits, e.logits)
    np.testing.assert_array_equal(back.labels, e.labels)
    assert back.summary() == e.summary()
    with np.load(tmp_path / "evaluation" / "test.npz", allow_pickle=False) as arrays:  # no object in the file
        assert {arrays[name].dtype.kind for name in arrays.files} <= {"u", "f", "i"}


def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.npz"
    with pytest.raises(FormatError, match="does not exist"):
        Evaluation.load(path)
    for content in (b"", b"not a zip", b"PK\x03\x04 cut short"):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="not an evaluation"):
            Evaluation.load(path)
    with open(path, "wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(FormatError, match="not an evaluation"):
        Evaluation.load(path)
    np.savez(path, logits=np.zeros(3))
    with pytest.raises(FormatError, match="not an evaluation"):
        Evaluation.load(path)


def test_a_newer_format_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "test.npz"
    stream = io.BytesIO()
    np.savez(stream, card=np.frombuffer(b'{"format": 99}', np.uint8), logits=np.zeros((1, 2)), labels=np.zeros(1))
    path.write_bytes(stream.getvalue())
    with pytest.raises(FormatError, match=r"format 99(.|\n)*pip install --upgrade"):
        Evaluation.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        made(5).save(tmp_path / "file" / "test.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_broken_inputs_are_refused() -> None:
    e = made(4, 3)
    with pytest.raises(DataError, match=r"1 of 4 ids .* such as 'a'"):
        Evaluation(("a", "b", "a", "c"), e.logits, e.labels, e.classes, "val")
    with pytest.raises(DataError, match="no picture"):
        Evaluation((), np.zeros((0, 3), np.float32), np.zeros(0, np.int64), e.classes, "val")
    for poison in (np.nan, np.inf, -np.inf):
        logits = e.logits.copy()
        logits[2, 1] = poison
        with pytest.raises(TrainingError, match=r"1 of 4 pictures .*00002"):
            Evaluation(e.ids, logits, e.labels, e.classes, "val")
    with pytest.raises(DataError, match="outside the 3 classes"):
        Evaluation(e.ids, e.logits, np.array([0, 1, 2, 3]), e.classes, "val")
    with pytest.raises(AssertionError):
        Evaluation(e.ids, e.logits[:3], e.labels, e.classes, "val")  # exactly N are scored


def test_a_bin_holds_its_upper_end_and_not_its_lower() -> None:
    e = made(BINS)
    vars(e)["confidence"] = np.linspace(0, 1, BINS + 1)[1:]
    assert e.reliability["count"].tolist() == [1.0] * BINS

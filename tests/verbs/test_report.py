from __future__ import annotations

import dataclasses
import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightmeter.errors import FormatError, UsageError
from lightmeter.nouns.evaluation import Evaluation
from lightmeter.nouns.files import write_json
from lightmeter.nouns.pack import Pack
from lightmeter.nouns.provenance import Contamination
from lightmeter.verbs.compare import compare
from lightmeter.verbs.report import report, report_several
from lightmeter.verbs.reporting.findings import chance_ece, findings, weak_classes
from lightmeter.verbs.reporting.material import Material
from lightmeter.verbs.reporting.page import context, render
from lightmeter.verbs.reporting.pictures import data_uri
from lightmeter.verbs.reporting.words import duration, percent, short, span, verdict

# Test files are loaded by path, so their folder is not a package to import a helper from.
sys.path.insert(0, str(Path(__file__).parent))
from run_folders import DIGITS, write_run

NASTY = (
    "<script>alert(1)</script>",
    'a" onload="x',
    "$5 bill$",
    "日本語",
    "{{ 7*7 }}",
    "x" * 90,
    "&amp;",
    "]]>",
    "-->",
    "it's",
)
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: elements, their attributes, their text; open elements must close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words).replace("\u202f", " "))


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pack]:
    path = tmp_path_factory.mktemp("run") / "ten"
    return path, write_run(path, epochs=6, steps=15, lr=0.9)


@pytest.fixture(scope="module")
def source(ten: tuple[Path, Pack]) -> str:
    """The page of the run with ten classes."""
    path, pack = ten
    return report(path, pack=pack).read_text(encoding="utf-8")


def test_the_page_asks_for_nothing_from_outside_and_runs_nothing(source: str) -> None:
    text = source
    page = Page(text)
    assert not re.search(r"https?:|//[a-z]|@import|<!ENTITY", re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", text))
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "form", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in {"src", "href", "xlink:href", "data", "action"}:
                assert value is not None and value.startswith(("data:image/", "#")), (tag, name, value[:60])
    policies = [a for tag, a in page.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policies and str(policies[0]["content"]).startswith("default-src 'none'")
    assert not re.search(r"url\((?!#)", text)
    assert len(text.encode()) < 3_000_000


def test_every_inner_reference_has_its_target_and_no_id_stands_twice(source: str) -> None:
    text = source
    ids = [attributes["id"] for _, attributes in Page(text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted and wanted <= set(ids)


def test_the_verdict_and_the_figures_are_those_of_the_evaluation(ten: tuple[Path, Pack], source: str) -> None:
    path, _ = ten
    text = Page(source).text
    e = Evaluation.load(path / "evaluation" / "test.npz")
    sentence, between = verdict(e)
    assert sentence in text and between.replace("\u202f", " ") in text
    assert f"Measured on {e.n} test pictures that were never used in training." in text
    right = round(e.accuracy * e.n)
    assert f"{e.n - right} of {e.n} test pictures were given a wrong name." in text
    assert percent(e.accuracy, 2).replace("\u202f", " ") in text
    assert f"{e.loss:.4f}" in text and f"{e.ece:.4f}" in text
    assert html.escape(e.classification_report(), quote=False) in source
    for name in DIGITS:
        assert name in text
    for word in (
        "lightmeter predict model.bundle",
        "lightmeter serve model.bundle",
        "a1b2a1b2a1b2a1b2",
        "wrong result",
    ):
        assert word in text


def test_the_galleries_show_the_pictures_that_they_name(ten: tuple[Path, Pack], source: str) -> None:
    import base64
    import io

    path, pack = ten
    page = Page(source)
    e = Evaluation.load(path / "evaluation" / "test.npz")
    shown = [a for tag, a in page.elements if tag == "img" and a.get("title")]
    expected = [*e.worst_mistakes(12), *e.least_certain(12)]
    assert [a["title"] for a in shown] == [e.ids[row] for row in expected]
    for attributes in shown:
        data = base64.b64decode(str(attributes["src"]).partition(",")[2])
        row = int(pack.rows([str(attributes["title"])])[0])
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pack.pixels[row][..., 0])


def test_the_plots_are_png_files_and_nothing_global_changes(ten: tuple[Path, Pack]) -> None:
    import matplotlib as mpl

    path, pack = ten
    before = dict(mpl.rcParams)
    report(path, pack=pack)
    assert dict(mpl.rcParams) == before
    code = "import sys, lightmeter.verbs.reporting.page; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    names = {"loss", "accuracy", "pace", "confusion", "classes", "reliability", "abstaining"}
    assert {plot.stem for plot in (path / "plots").glob("*.png")} == names
    for plot in (path / "plots").iterdir():
        with Image.open(plot) as image:
            assert image.format == "PNG" and min(image.size) > 200


def test_the_page_is_the_same_each_time(ten: tuple[Path, Pack], source: str) -> None:
    path, pack = ten
    assert report(path, pack=pack).read_text(encoding="utf-8") == source


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    pack = write_run(tmp_path / "run", names=NASTY, epochs=2, steps=3)
    text = report(tmp_path / "run", pack=pack).read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text
    assert not any(tag == "script" or "onload" in attributes for tag, attributes in page.elements)
    for name in NASTY:
        assert name in "".join(page.words), name


@pytest.mark.parametrize(
    ("num_classes", "names"), [(2, ("odd", "even")), (200, tuple(f"class {c:03d}" for c in range(200)))]
)
def test_two_and_two_hundred_classes(tmp_path: Path, num_classes: int, names: tuple[str, ...]) -> None:
    pack = write_run(tmp_path / "run", num_classes=num_classes, names=names, epochs=2, steps=4, repeat=2)
    text = report(tmp_path / "run", pack=pack).read_text(encoding="utf-8")
    page = Page(text)
    assert len(text.encode()) < 3_000_000
    for name in names:  # all of them are in the table, whatever the figures leave out
        assert name in page.text
    assert ("With so many classes" in page.text) == (num_classes == 200)
    assert ("Top-5" in page.text.partition("Words")[0]) == (num_classes == 200)


def test_what_an_unfinished_run_lacks_is_said(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, epochs=2, steps=3, finished=False)
    text = Page(report(path).read_text(encoding="utf-8")).text
    assert "This run did not finish: measured on 179 validation pictures" in text
    assert "The pictures themselves were not at hand" in text
    (path / "evaluation" / "val.npz").unlink()
    text = Page(report(path).read_text(encoding="utf-8")).text
    assert "did not finish, so nobody knows yet how good its model is" in text
    assert "No picture was scored in this run." in text
    for name in ("recipe", "environment", "data", "plan", "split"):
        (path / f"{name}.json").unlink()
    text = Page(report(path).read_text(encoding="utf-8")).text
    assert "This run wrote nothing about its data." in text and "This run wrote no plan." in text
    (path / "epochs.jsonl").unlink()
    with pytest.raises(FormatError, match="holds no run"):
        report(path)


def test_every_single_missing_document_is_tolerated(ten: tuple[Path, Pack], tmp_path: Path) -> None:
    import shutil

    path, pack = ten
    parts = [part.relative_to(path) for part in path.rglob("*") if part.suffix in (".json", ".jsonl", ".npz")]
    assert len(parts) >= 9
    for part in parts:
        copy = tmp_path / "copy"
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("plots"))
        (copy / part).unlink()
        Page(render("report.html.j2", context(Material.read(copy), {}, pack)))
        shutil.rmtree(copy)
    shutil.copytree(path, tmp_path / "copy")
    (tmp_path / "copy" / "data.json").write_text("{")
    with pytest.raises(FormatError, match=r"data.json is not readable"):
        report(tmp_path / "copy", pack=pack)


def test_another_pack_than_the_runs_is_a_sentence(ten: tuple[Path, Pack]) -> None:
    path, pack = ten
    other = dataclasses.replace(pack, ids=tuple(f"other {id}" for id in pack.ids))
    assert "were not at hand" in Page(report(path, pack=other).read_text(encoding="utf-8")).text


def test_leaks_bad_files_and_second_looks_are_told_first(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, epochs=2, steps=10, leaks=5, bad=2)
    with open(path / "ledger.jsonl", "a") as ledger:
        ledger.write(
            json.dumps({"time": "2026-05-05T10:00:00+00:00", "split": "test", "n": 359, "by": "evaluate"}) + "\n"
        )
    material = Material.read(path)
    found = findings(material)
    assert [finding.level for finding in found] == sorted((f.level for f in found), key=["warn", "note", "good"].index)
    serious = {finding.title: finding.text for finding in found if finding.level == "warn"}
    assert "opened 2 times" in serious["The test pictures were opened more than once"]
    assert "2 files could not be used" in serious["Files that were left out"]
    assert "holiday/0.jpg" in serious["Files that were left out"]
    leaked = serious["Test pictures that stand in training too"]
    test, split = material.test, material.split
    assert test is not None and split is not None and leaked.startswith("5 test pictures have an identical twin")
    own = {id for id, _ in split.leaks}
    rest = [bool(right) for id, right in zip(test.ids, test.correct, strict=True) if id not in own]  # the obvious twin
    assert percent(sum(rest) / len(rest)) in leaked
    text = Page(report(path).read_text(encoding="utf-8")).text
    assert "of which 5 also stand in training" in text and "never used in training" not in text


def made(right: list[int], support: list[int], *, certainty: float = 4.0) -> Evaluation:
    labels = np.repeat(np.arange(len(support)), support)
    named = np.concatenate(
        [
            np.where(np.arange(n) < k, c, (c + 1) % len(support))
            for c, (k, n) in enumerate(zip(right, support, strict=True))
        ]
    )
    logits = np.eye(len(support), dtype=np.float32)[named] * np.float32(certainty)
    ids = tuple(map(str, range(len(labels))))
    return Evaluation(ids, logits, labels, tuple(f"c{c}" for c in range(len(support))), "test")


def test_a_class_is_called_weak_only_beyond_chance() -> None:
    assert weak_classes(made([95, 95, 60], [100, 100, 100])) == [2]
    assert weak_classes(made([95, 95, 91], [100, 100, 100])) == []
    assert weak_classes(made([95, 95, 1], [100, 100, 2])) == []
    assert weak_classes(made([95, 95, 0], [100, 100, 0])) == []


def test_the_calibration_error_of_perfect_probabilities_is_about_what_chance_says() -> None:
    random, errors, expected = np.random.default_rng(0), [], []
    for _ in range(60):
        logits = random.normal(size=(400, 5)).astype(np.float32) * 2
        labels = (logits - np.log(-np.log(random.random(logits.shape)))).argmax(axis=1)
        e = Evaluation(tuple(map(str, range(400))), logits, labels, tuple("abcde"), "test")
        errors.append(e.ece)
        expected.append(chance_ece(e))
    assert np.mean(errors) == pytest.approx(np.mean(expected), rel=0.1)


def test_the_verdict_counts_in_hundreds_or_thousands_and_rounds_outwards() -> None:
    few = verdict(made([352 - 8, 8], [352, 8]))
    assert few[0] == "Of 100 new pictures like these, about 98 will be named right"
    assert few[1].replace("\u202f", " ") == "between 95 and 99, with 95 % confidence"
    many = verdict(made([4600, 4794], [5000, 5000]))
    assert many[0] == "Of 1,000 new pictures like these, about 939 will be named right"
    assert many[1].replace("\u202f", " ") == "between 934 and 944, with 95 % confidence"
    assert "about 999" in verdict(made([50_000, 49_999], [50_000, 50_000]))[0]  # one mistake is not none


@pytest.mark.parametrize(
    ("share", "text"), [(0.9778, "97.8 %"), (1.0, "100.0 %"), (0.99999, "99.9 %"), (0.0, "0.0 %"), (0.0001, "0.1 %")]
)
def test_percent_never_rounds_to_all_or_nothing(share: float, text: str) -> None:
    assert percent(share).replace("\u202f", " ") == text


def test_other_words() -> None:
    assert span(0.9339, 0.9441).replace("\u202f", " ") == "93.3 to 94.5 %"
    assert span(0.0, 1.0).replace("\u202f", " ") == "0.0 to 100.0 %"
    for seconds, text in ((2.5, "2.5 s"), (57.8, "58 s"), (59.7, "1 min"), (588, "9 min 48 s"), (7260, "2 h 1 min")):
        assert duration(seconds).replace("\u202f", " ") == text
    assert short("golden retriever") == "golden retriever"
    assert len(short("x" * 90)) == 18 and short("tabby cat number 17, large").endswith("large")


def test_several_runs_on_one_page(ten: tuple[Path, Pack], tmp_path: Path) -> None:
    import shutil

    good, _ = ten
    runs = tmp_path / "runs"
    shutil.copytree(good, runs / "javascript:alert(1)")
    write_run(runs / "hasty", epochs=1, steps=3)
    write_run(runs / "unfinished", epochs=1, steps=3, finished=False)
    write_run(runs / "elsewhere", num_classes=2, names=("odd", "even"), epochs=1, steps=3, repeat=2)
    report(runs / "hasty")
    paths = [runs / name for name in ("unfinished", "hasty", "javascript:alert(1)")]
    text = report_several(paths, tmp_path / "compared.html").read_text(encoding="utf-8")
    page = Page(text)
    best, hasty = (Evaluation.load(path / "evaluation" / "test.npz") for path in (paths[2], paths[1]))
    found = compare(best, hasty)
    assert found.verdict == "worse"
    assert "“javascript:alert(1)” is the best of 2 runs" in page.text
    assert found.sentence("“javascript:alert(1)”", "“hasty”") in page.text
    assert "did not finish, so it was not tested" in page.text
    links = [str(attributes["href"]) for tag, attributes in page.elements if tag == "a"]
    assert len(links) == 1 + (paths[2] / "report.html").exists() and "./runs/hasty/report.html" in links
    assert all(link.startswith("./runs/") and ":" not in link for link in links)
    order = [page.text.index(f" {name} ") for name in ("javascript:alert(1)", "hasty", "unfinished")]
    assert order == sorted(order)
    text = report_several([*paths, runs / "elsewhere"], tmp_path / "compared.html").read_text(encoding="utf-8")
    assert "did not score the same pictures: 359 and 718, of which" in Page(text).text
    assert "These runs cannot be ranked:" in Page(text).text
    assert "highest score" not in Page(text).text
    with pytest.raises(UsageError, match="1 runs were given"):
        report_several([paths[0]], tmp_path / "compared.html")
    with pytest.raises(UsageError):
        report_several([paths[0], paths[0]], tmp_path / "compared.html")


def test_runs_that_cannot_be_told_apart_are_not_ranked(ten: tuple[Path, Pack], tmp_path: Path) -> None:
    good, _ = ten
    write_run(tmp_path / "again", epochs=6, steps=15, lr=0.9, seed=1)
    text = Page(report_several([good, tmp_path / "again"], tmp_path / "c.html").read_text(encoding="utf-8")).text
    assert "cannot be told apart from it" in text and "is the best of" not in text


def test_even_noise_keeps_the_page_below_three_megabytes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)  # nothing compresses worse
    gallery, sample = len(data_uri(noise, 160)), len(data_uri(noise, 80))
    assert 2 * 12 * gallery + 180 * sample < 2_700_000
    assert data_uri(noise, 80).startswith("data:image/jpeg;base64,")
    assert data_uri(noise[:32, :32, :1], 80).startswith("data:image/png;base64,")


def test_start_weights_that_may_have_seen_the_test_pictures_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, epochs=1, steps=5)
    title = "The start weights may have seen these pictures"
    assert title not in {finding.title for finding in findings(Material.read(path))}
    document = json.loads((path / "recipe.json").read_text())
    document["recipe"]["start"] = "mobilenet@0123456789abcdef"
    (path / "recipe.json").write_text(json.dumps(document))
    [found] = [finding for finding in findings(Material.read(path)) if finding.title == title]
    assert found.level == "warn"
    assert "mobilenet@0123456789abcdef" in found.text


def with_past(path: Path, clean: int, contaminated: int, unknown: int) -> Material:
    """The run with that many of its test pictures called each."""
    document = json.loads((path / "result.json").read_text())
    test = Material.read(path).test
    assert test is not None
    kinds = ("clean",) * clean + ("contaminated",) * contaminated + ("unknown",) * unknown
    kinds += ("clean",) * (test.n - len(kinds))
    found = Contamination(test.ids, kinds, tuple(f"why <{kind}>" for kind in kinds), ("imagenet-1k/train",))
    document["provenance"] = found.summary(test.ids, test.correct)
    write_json(path / "result.json", document)
    return Material.read(path)


def test_what_the_model_had_seen_is_said_with_the_score_on_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, epochs=1, steps=5, leaks=5)
    material = with_past(path, 100, 200, 30)
    test = material.test
    assert test is not None and test.n == 359
    fresh = np.r_[:100, 330:359]
    text = Page(report(path).read_text(encoding="utf-8")).text
    assert "Of 359 pictures, 200 were seen before, or have a twin that was; of 30 it cannot be told." in text
    share = percent(float(test.correct[fresh].mean())).replace("\u202f", " ")
    assert f"Of the 129 that are new to it {share} are right" in text
    assert "why <contaminated>" in text and "imagenet-1k/train" in text
    basis = "Measured on 129 test pictures; 200 (or their twins) the model had seen, of 30 it cannot be told"
    assert basis in text and "Measured on 359" not in text
    sentence, _ = verdict(test, material.past)
    assert sentence in text and f"about {round(100 * float(test.correct[fresh].mean()))} " in sentence
    [found] = [one for one in findings(material) if one.title == "The model has seen test pictures before"]
    assert found.level == "warn"


@pytest.mark.parametrize(
    ("kinds", "level", "words"),
    [
        ((359, 0, 0), "good", "None of the 359 pictures is known to it"),
        ((0, 1, 0), "warn", "1 was seen before, or has a twin that was."),
        ((0, 359, 0), "warn", "None is left to judge it by"),
        ((0, 0, 359), "note", "of 359 it cannot be told. None is left"),
    ],
)
def test_the_sentence_fits_what_was_found(kinds: tuple[int, int, int], level: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_run(path, epochs=1, steps=5)
    material = with_past(path, *kinds)
    [found] = [one for one in findings(material) if words in one.text]
    assert found.level == level
    page = report(path).read_text(encoding="utf-8")
    assert ('id="seen"' in page) == (level != "good")

"""The page in a real browser: it works, it loads nothing from elsewhere, and its policy is never broken."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightmeter.nouns.bundle import Bundle
from tests.bundles import CLASSES, picture, with_examples

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")

PROGRAM = """
import sys
from pathlib import Path
from lightmeter.nouns.progress import Silent
from lightmeter.verbs.serve import serve

class Shown(Silent):
    def say(self, text):
        print(text, flush=True)

serve(Path(sys.argv[1]), port=0, log=False, key_file=Path(sys.argv[2]) if len(sys.argv) > 2 else None, progress=Shown())
"""
KEY = "0123456789abcdef-key"


def served(*words: str) -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[2].rstrip(",")
        process.terminate()


@pytest.fixture(scope="module")
def address(bundle: Bundle) -> Iterator[str]:
    yield from served(str(bundle.path))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Watched:
    """A page whose requests, complaints and errors are kept."""

    def __init__(self, browser: Any, address: str, **given: Any) -> None:
        self.page = browser.new_page(**given)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.address = address
        self.page.goto(f"{address}/")

    def close(self) -> None:
        """Hold what happened against what may happen."""
        self.page.close()
        assert [url for url in self.requests if not url.startswith((self.address, "blob:"))] == []
        assert self.complaints == []


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    found = Watched(browser, address)
    yield found
    found.close()


def sees(page: Any, selector: str, text: str) -> None:
    """Wait for a text; by no function of its own, which the page's policy would not let run."""
    page.locator(selector, has_text=text).wait_for()


def upload(page: Any, *pictures: tuple[str, bytes]) -> None:
    files = [{"name": name, "mimeType": "image/jpeg", "buffer": data} for name, data in pictures]
    page.set_input_files("#files", files)


def test_a_picture_is_named_with_bars_and_explained(watched: Watched) -> None:
    page = watched.page
    sees(page, "#what", "Tells 5 classes")
    upload(page, ("one.jpg", picture(1)))
    page.wait_for_selector("article .bars li")
    assert page.locator("article .bars li").count() == 5
    named = page.locator("article .bars li span:first-of-type").all_text_contents()
    assert set(named) <= set(CLASSES)
    shares = [float(text.split()[0]) for text in page.locator("article .bars li span:last-of-type").all_text_contents()]
    assert shares == sorted(shares, reverse=True)
    assert abs(sum(shares) - 100) < 1
    before = page.locator("article canvas").screenshot()
    page.click("article .why")
    page.wait_for_selector("article .overlay:not([hidden])")
    assert page.evaluate("document.activeElement.type") == "range"
    assert "evidence" in (page.locator("article canvas").get_attribute("aria-label") or "")
    page.locator("article .overlay input").fill("0")
    assert page.locator("article canvas").screenshot() == before


def test_the_nearest_training_pictures_stand_beside_the_evidence(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for address in served(str(with_examples(tmp_path_factory.getbasetemp()).path)):
        watched = Watched(browser, address)
        page = watched.page
        sees(page, "#what", "Tells 5 classes")
        upload(page, ("four.jpg", picture(4)))
        page.click("article .why:enabled")
        page.wait_for_selector("article .alike:not([hidden]) li:nth-child(5) img")
        assert page.locator("article .alike li").first.inner_text().split() == [CLASSES[4], "1.00"]
        assert (
            page.locator("article .alike img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")
            == 24
        )
        watched.close()


def test_a_file_that_is_no_picture_is_told_beside_good_ones_and_all_are_listed(
    watched: Watched, tmp_path: Path
) -> None:
    page = watched.page
    upload(page, ("=good.jpg", picture(2)), ("bad.jpg", b"no picture at all"), ("other.jpg", picture(3)))
    page.wait_for_selector("#rows tr:nth-child(3)")
    assert page.locator("article h3", has_text="No answer").count() == 1
    assert page.locator("article .unsure", has_text="not a picture").count() == 1
    with page.expect_download() as waiting:
        page.click("#csv")
    waiting.value.save_as(tmp_path / "answers.csv")
    with open(tmp_path / "answers.csv", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"'=good.jpg", "bad.jpg", "other.jpg"}  # no cell begins as a formula does
    assert rows["other.jpg"]["label"] in CLASSES
    assert rows["other.jpg"]["model"] == "shared"
    assert rows["bad.jpg"]["label"] == ""
    assert page.locator("#said").inner_text().startswith("3 answers. Last: ")
    page.click("#clear")
    assert page.locator("article").count() == 0
    watched.complaints = [text for text in watched.complaints if "415" not in text]  # the browser's own remark


GIVEN = """bytes => {
    const given = new DataTransfer();
    given.items.add(new File([new Uint8Array(bytes)], "given.jpg", { type: "image/jpeg" }));
    return given;
}"""


def test_pictures_may_be_dropped_and_pasted_and_the_answer_is_said(watched: Watched) -> None:
    page = watched.page
    sees(page, "#what", "Tells")
    page.dispatch_event("#drop", "drop", {"dataTransfer": page.evaluate_handle(GIVEN, list(picture(1)))})
    page.wait_for_selector("article:nth-child(1) .bars li")
    said = page.locator("#said").text_content() or ""
    assert said.startswith("given.jpg: ")
    assert any(name in said or "not sure" in said for name in CLASSES)
    page.evaluate(
        "given => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: given }))",
        page.evaluate_handle(GIVEN, list(picture(2))),
    )
    page.wait_for_selector("article:nth-child(2) .bars li")


def test_what_was_cleared_does_not_come_back(watched: Watched) -> None:
    page = watched.page
    held: list[Any] = []
    sees(page, "#what", "Tells")
    page.route("**/v1/predict*", lambda route: held.append(route), times=1)
    upload(page, ("late.jpg", picture(1)))
    while not held:
        page.wait_for_timeout(20)
    page.evaluate("clear()")
    held[0].continue_()
    upload(page, ("next.jpg", picture(2)))
    page.wait_for_selector("article .bars li")
    assert page.locator("article figcaption").all_text_contents() == ["next.jpg"]
    assert page.locator("#rows tr").count() == 1


def test_an_explanation_that_failed_may_be_asked_for_again(watched: Watched) -> None:
    page = watched.page
    upload(page, ("one.jpg", picture(1)))
    page.wait_for_selector("article .bars li")
    page.route("**/v1/predict*", lambda route: route.abort())
    page.click("article .why")
    sees(page, "article .why", "Try again")
    page.unroute("**/v1/predict*")
    page.click("article .why")
    page.wait_for_selector("article .overlay:not([hidden])")
    watched.complaints = []  # the browser's own remark on what was broken off


def test_it_is_used_by_keyboard_and_fits_a_phone(browser: Any, address: str) -> None:
    found = Watched(browser, address, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = found.page
    sees(page, "#what", "Tells")
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached[:3] == ["files", "camera", "SUMMARY"]
    upload(page, ("a name that is very long and has no end, or so it seems, until it does.jpg", picture(4)))
    page.wait_for_selector("article .bars li")
    page.click("#card summary")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 21)"
    assert page.locator("#facts dt").count() == 8
    found.close()


def test_a_key_is_asked_for_where_the_server_wants_one(browser: Any, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"one {KEY}\n")
    for address in served(str(bundle.path), str(tmp_path / "keys")):
        found = Watched(browser, address)
        found.page.wait_for_selector("#ask-key:not([hidden])")
        upload(found.page, ("one.jpg", picture(1)))
        sees(found.page, "article h3", "Waits for a key")
        found.page.fill("#key", "another-key-that-nobody-has")
        found.page.keyboard.press("Enter")
        sees(found.page, "#what", "not known")
        found.page.fill("#key", KEY)
        found.page.keyboard.press("Enter")
        sees(found.page, "#what", "Tells")
        found.page.wait_for_selector("article .bars li")  # what waited is asked again
        found.complaints = [text for text in found.complaints if "401" not in text]  # the browser's own remark
        found.close()

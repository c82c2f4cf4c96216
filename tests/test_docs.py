"""The guide keeps up with the commands: nothing undocumented, nothing that does not exist, no link into nowhere."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import lightmeter
from lightmeter.cli import app

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = (DOCS / "python.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def reference() -> ModuleType:
    """docs/reference.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMMANDS: dict[str, Any] = dict(reference().commands(typer.main.get_command(app)))


def examples(page: Path) -> list[str]:
    """Lines in a page's fenced blocks, and in its inline code, that call lightmeter."""
    text = page.read_text(encoding="utf-8")
    lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
    lines += re.findall(r"`(lightmeter [^`\n]+)`", FENCE.sub("", text))
    return [line.strip() for line in lines if line.strip().startswith("lightmeter ")]


def problem(line: str) -> str:
    """What is wrong with a line that calls lightmeter; "" where its command and options exist."""
    words = shlex.split(line, comments=True)
    if words[1].startswith("--"):
        return "" if words[1] in ("--help", "--version", "--install-completion") else f"no option {words[1]}"
    path = " ".join(words[:3] if " ".join(words[:3]) in COMMANDS else words[:2])
    if path not in COMMANDS:
        return f"no command {path!r}"
    options = {option for parameter in COMMANDS[path].params for option in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in options]
    return f"{path} has no {', '.join(unknown)}" if unknown else ""


def test_the_reference_is_up_to_date() -> None:
    written = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert written == reference().page(), "run: python docs/reference.py"


def test_the_reference_names_every_command_and_option() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert len(COMMANDS) >= 13
    for path, command in COMMANDS.items():
        section = text.partition(f"## {path}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, f"{path}: {parameter.name} has no help"
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert all(f"`{option}" in section for option in parameter.opts), f"{path} {parameter.opts}"


def test_every_verb_has_json_but_the_one_that_never_ends() -> None:
    without = {
        path for path, command in COMMANDS.items() if "--json" not in {o for p in command.params for o in p.opts}
    }
    assert without == {"lightmeter serve"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_its_commands_exist(self, page: Path) -> None:
        if page.name == "cli.md":
            return  # generated from the commands themselves, in the form of a usage line
        assert [(line, problem(line)) for line in examples(page) if problem(line)] == []

    def test_its_links_lead_somewhere(self, page: Path) -> None:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if not re.match(r"\w+:", link):
                path, _, _ = link.partition("#")
                assert (page.parent / path).resolve().exists(), link

    def test_the_tests_it_names_exist(self, page: Path) -> None:
        for path in re.findall(r"`(tests/[\w/.]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), path


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in PAGES[1:] if page.relative_to(DOCS).as_posix() not in menu] == []


def test_every_public_name_is_in_the_guide() -> None:
    assert [name for name in lightmeter.__all__[1:] if not re.search(rf"`{name}[`(]", PYTHON)] == []


@pytest.mark.parametrize("block", re.findall(r"^```python\n(.*?)^```$", PYTHON, re.MULTILINE | re.DOTALL))
def test_python_examples_are_python(block: str) -> None:
    compile(block, "python.md", "exec")


@pytest.mark.parametrize(
    "line",
    ["lightmeter trian x", "lightmeter train x --bugdet 3s", "lightmeter data fetch x --form y", "lightmeter --no"],
)
def test_an_example_that_does_not_exist_is_found(line: str) -> None:
    assert problem(line)


def test_the_results_page_is_what_the_records_say() -> None:
    from bench.table import PAGE, PERFORMANCE, page, performance

    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m bench.table"
    assert PERFORMANCE.read_text(encoding="utf-8") == performance(), "run: python -m bench.table"


def test_each_study_has_its_results_on_a_page_as_the_records_say() -> None:
    from bench.table import EXPERIMENTS, GROWTH, HONEST, INGREDIENTS, filled
    from lightmeter.studies import STUDIES

    pages = [path.read_text(encoding="utf-8") for path in sorted(EXPERIMENTS.glob("*.md"))]
    assert [text for text in pages if text != filled(text)] == [], "run: python -m bench.table"
    for path in (HONEST, GROWTH, INGREDIENTS):
        assert path.read_text(encoding="utf-8") == filled(path.read_text(encoding="utf-8"))
    assert sorted(re.findall(r"<!-- results: (\S+) -->", "".join(pages))) == sorted(STUDIES)

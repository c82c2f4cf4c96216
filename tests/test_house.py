"""House rules that no linter knows. Each rule runs on source text, so that a planted breach shows that it looks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lightmeter"
CEILING = 350
"""Lines a file may have. Below 300 is the aim; beyond this it holds two things."""

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CONNECTS = {"socket", "ssl", "http.client", "urllib.request", "requests", "httpx", "aiohttp", "ftplib", "telnetlib"}
MAY_CONNECT = {"lightmeter/verbs/download.py", "lightmeter/serving/client.py"}  # each to what the user names
GLOBAL_STATE = {
    "logging.basicConfig",
    "logging.disable",
    "numpy.random.seed",
    "np.random.seed",
    "random.seed",
    "torch.manual_seed",
    "torch.seed",
    "torch.set_default_device",
    "torch.set_default_dtype",
    "torch.use_deterministic_algorithms",
    "warnings.simplefilter",
    "warnings.filterwarnings",
}
RESTORES = re.compile(r"\bfork_rng\(|\bcatch_warnings\(")


def files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(node: ast.AST) -> str:
    """The dotted name of a call's target, or "" where it has none."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def unsafe_reads(source: str) -> Iterator[str]:
    """Ways for a pickle to come in: its modules, torch.load without weights_only=True, NumPy's allow_pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            names = []
        yield from (f"line {node.lineno}: import of {name}" for name in names if name.split(".")[0] in PICKLES)
        if isinstance(node, ast.Call):
            arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            called = name_of(node.func)
            if called == "torch.load" and arguments.get("weights_only") != "True":
                yield f"line {node.lineno}: torch.load without weights_only=True"
            if called == "torch.save":
                yield f"line {node.lineno}: torch.save writes a pickle"
            if arguments.get("allow_pickle", "False") != "False":
                yield f"line {node.lineno}: allow_pickle"


def global_effects(source: str) -> Iterator[str]:
    """Calls that change the whole process, wherever they stand, unless a `with` around them puts it back."""
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.With) and any(RESTORES.search(ast.unparse(item)) for item in node.items):
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Call):
            called = name_of(node.func)
            if called in GLOBAL_STATE or called.endswith((".addHandler", ".setLevel")):
                yield f"line {node.lineno}: {called}"


def connections(source: str) -> Iterator[str]:
    """Imports of modules that open connections."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (f"line {node.lineno}: import of {name}" for name in names if name in CONNECTS)


def undocumented(source: str) -> Iterator[str]:
    """Public functions, methods and classes without a docstring, and modules without one unless empty."""
    tree = ast.parse(source)
    if tree.body and not ast.get_docstring(tree):
        yield "the module"

    def look(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                overload = any("overload" in ast.unparse(decorator) for decorator in child.decorator_list)
                if not child.name.startswith("_") and not overload:
                    if not ast.get_docstring(child):
                        yield f"line {child.lineno}: {child.name}"
                    if isinstance(child, ast.ClassDef):
                        yield from look(child)

    yield from look(tree)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
class TestFile:
    def test_is_short(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= CEILING

    def test_reads_no_pickle(self, path: Path) -> None:
        assert list(unsafe_reads(path.read_text(encoding="utf-8"))) == []

    def test_changes_nothing_for_the_whole_process(self, path: Path) -> None:
        assert list(global_effects(path.read_text(encoding="utf-8"))) == []

    def test_opens_no_connection(self, path: Path) -> None:
        if str(path.relative_to(ROOT)) not in MAY_CONNECT:
            assert list(connections(path.read_text(encoding="utf-8"))) == []

    def test_is_documented(self, path: Path) -> None:
        assert list(undocumented(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "torch.save(state, path)",
    ],
)
def test_a_planted_pickle_is_found(planted: str) -> None:
    assert list(unsafe_reads(planted))


@pytest.mark.parametrize("planted", ["logging.basicConfig()", "torch.manual_seed(0)", "logger.addHandler(handler)"])
def test_a_planted_global_effect_is_found(planted: str) -> None:
    assert list(global_effects(planted))


@pytest.mark.parametrize(
    "planted", ["import socket", "from urllib import request", "from urllib.request import urlopen"]
)
def test_a_planted_connection_is_found(planted: str) -> None:
    assert list(connections(planted))


@pytest.mark.parametrize(
    "planted", ["x = 1", '"""M."""\ndef f(): ...', '"""M."""\nclass C:\n    """C."""\n    def m(self): ...']
)
def test_a_missing_docstring_is_found(planted: str) -> None:
    assert list(undocumented(planted))


def test_safe_forms_pass() -> None:
    assert list(global_effects("with torch.random.fork_rng():\n    torch.manual_seed(0)")) == []
    assert list(unsafe_reads("torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)")) == []

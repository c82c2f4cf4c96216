"""Imports point one way, and what serves a bundle never loads torch.

Every import statement counts, inside functions too. The rules run on sources given as text, so that the tests can plant
a breach and see it found.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "lightmeter"

LAYERS = (
    ("errors",),
    ("nouns",),
    ("sources", "models", "augment", "optim", "exporters", "runners", "recipes"),
    ("verbs",),
    ("studies", "serving", "cluster"),
    ("cli",),
    ("__main__",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
PARTS = LAYERS[2]

EXCEPTIONS = {
    # The verb is the door to the server: it checks what the user gave, then hands over to serving/.
    ("lightmeter.verbs.serve", "serving"),
}

TORCHLESS = (
    "lightmeter.errors",
    "lightmeter.nouns",
    "lightmeter.runners",
    "lightmeter.serving",
    "lightmeter.verbs.predict",
    "lightmeter.verbs.serve",
    "lightmeter.verbs.verify",
    "lightmeter.verbs.inspect",
    "lightmeter.cli",
)
"""Modules and folders that never import torch, themselves or through what they import at their top.

The command line imports each verb inside the command that needs it, so only its top-level imports are followed.
"""


def sources() -> dict[str, str]:
    """module name -> its source, for the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports(
    source: str, modules: dict[str, str], *, functions: bool = True, types: bool = True
) -> Iterator[tuple[int, str]]:
    """(line, absolute module) for each import; `from a import b` names a.b where that is a module of ours.

    Args:
        functions: whether those inside functions count.
        types: whether those below `if TYPE_CHECKING` count, which never run.
    """
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in modules else str(node.module)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not functions:
            continue
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not types:
            pending.extend(node.orelse)
            continue
        pending.extend(ast.iter_child_nodes(node))


def layer(module: str) -> str:
    """The folder or file right below the package that a module belongs to; "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def breaches(modules: dict[str, str]) -> list[str]:
    """Every import that points the wrong way."""
    wrong = []
    for module, source in modules.items():
        here = layer(module)
        # The package names its surface as text; what only type checkers read there is no import.
        for line, target in imports(source, modules, types=bool(here)):
            there = layer(target)
            if target.split(".")[0] != "lightmeter" or not there or there == here or (module, there) in EXCEPTIONS:
                continue
            if not here:
                allowed = False
            elif here in PARTS and there in PARTS:
                allowed = here == "recipes"
            else:
                allowed = RANK[there] < RANK[here] or (here in LAYERS[4] and there in LAYERS[4])
            if not allowed:
                wrong.append(f"{module}, line {line}: {here or 'the package'} may not import {target}")
    return wrong


def loads_torch(start: str, modules: dict[str, str], *, lazily: bool) -> list[str]:
    """The chain of modules from `start` to an import of torch, or [] where there is none."""
    pending, seen = [[start]], {start}
    while pending:
        chain = pending.pop()
        for _, target in imports(modules[chain[-1]], modules, functions=lazily, types=False):
            if target.split(".")[0] == "torch":
                return [*chain, "torch"]
            parts = target.split(".")
            for name in (".".join(parts[: depth + 1]) for depth in range(len(parts))):
                if name in modules and name not in seen:
                    seen.add(name)
                    pending.append([*chain, name])
    return []


def torchless(modules: dict[str, str]) -> list[str]:
    """The modules that TORCHLESS covers."""
    return [name for name in modules if any(name == root or name.startswith(root + ".") for root in TORCHLESS)]


def torch_chains(modules: dict[str, str]) -> list[str]:
    """Every chain from a module that promises to be free of torch to torch."""
    chains = []
    for name in torchless(modules):
        chain = loads_torch(name, modules, lazily=layer(name) != "cli")
        if chain:
            chains.append(" -> ".join(chain))
    return chains


def test_every_folder_has_its_layer() -> None:
    assert {layer(module) for module in sources()} - {""} <= set(RANK)


def test_imports_point_one_way() -> None:
    assert breaches(sources()) == []


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("lightmeter.errors", "from lightmeter.nouns.dataset import Dataset"),
        ("lightmeter.nouns.dataset", "def f():\n    import lightmeter.verbs.train"),
        ("lightmeter.sources.folder", "from lightmeter.models import base"),
        ("lightmeter.verbs.train", "from lightmeter.cli import main"),
        ("lightmeter.verbs.train", "from lightmeter.serving.app import create_app"),
        ("lightmeter", "from lightmeter.verbs.train import train"),
    ],
)
def test_a_planted_import_is_found(module: str, statement: str) -> None:
    assert breaches({**sources(), module: statement})


def test_recipes_may_name_the_other_parts() -> None:
    assert breaches({**sources(), "lightmeter.recipes.x": "from lightmeter.augment import AUGMENTATIONS"}) == []


def test_what_serves_never_reaches_torch() -> None:
    assert torch_chains(sources()) == []


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("lightmeter.nouns.dataset", "def f():\n    import torch"),
        ("lightmeter.runners.x", "from lightmeter.models.base import Model"),
        ("lightmeter.serving.x", "import lightmeter.verbs.fit"),
        ("lightmeter.cli.x", "from torch import nn"),
    ],
)
def test_a_planted_way_to_torch_is_found(module: str, statement: str) -> None:
    assert torch_chains({**sources(), module: statement})


def test_importing_what_serves_loads_no_torch() -> None:
    names = torchless(sources())
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
        "print(len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_trains_is_imported_without_what_only_mixing_and_the_end_need() -> None:
    program = (
        "import sys, lightmeter.verbs.prepare, lightmeter.verbs.learn\n"
        "found = {'scipy', 'onnxruntime', 'onnx', 'sklearn'} & set(sys.modules)\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

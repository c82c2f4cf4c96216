"""The public surface is one list, and importing it changes nothing."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lightmeter

SURFACE = [
    "Bundle",
    "Dataset",
    "Evaluation",
    "LightmeterError",
    "Pack",
    "Prediction",
    "Predictor",
    "Preprocess",
    "Recipe",
    "Run",
    "Split",
    "check",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "fetch",
    "inspect",
    "open_source",
    "pack",
    "predict",
    "report",
    "serve",
    "split",
    "train",
    "verify",
]

LOOK = """
import json, logging, os, random, signal, sys, threading, warnings
before = {
    "environment": dict(os.environ), "filters": list(warnings.filters), "state": random.getstate(),
    "folder": os.getcwd(), "hook": sys.excepthook, "signals": [signal.getsignal(s) for s in signal.valid_signals()],
}
import lightmeter
for name in NAMES:
    getattr(lightmeter, name)
after = {
    "environment": dict(os.environ), "filters": list(warnings.filters), "state": random.getstate(),
    "folder": os.getcwd(), "hook": sys.excepthook, "signals": [signal.getsignal(s) for s in signal.valid_signals()],
}
print(json.dumps({
    "changed": [name for name in before if before[name] != after[name]],
    "handlers": len(logging.getLogger().handlers) + len(logging.getLogger("lightmeter").handlers),
    "level": logging.getLogger().level,
    "threads": threading.active_count(),
    "modules": [name for name in sys.modules if "." not in name],
}))
"""


def look(names: list[str]) -> dict[str, Any]:
    """What a fresh process finds changed after importing the package and touching `names`."""
    program = LOOK.replace("NAMES", repr(names))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_list_is_exactly_this() -> None:
    assert [*lightmeter.__all__] == ["__version__", *SURFACE]
    assert dir(lightmeter) == sorted(["__version__", *SURFACE])


@pytest.mark.parametrize("name", SURFACE)
def test_each_name_loads_and_is_documented(name: str) -> None:
    value = getattr(lightmeter, name)
    assert value.__name__ == name
    assert value.__doc__


def test_type_checkers_see_the_same_list() -> None:
    tree = ast.parse(Path(lightmeter.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    static = {alias.name: node.module for node in imports for alias in node.names}
    assert static == {name: f"lightmeter.{module}" for name, module in lightmeter._SURFACE.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        _ = lightmeter.Trainer  # type: ignore[attr-defined]


def test_importing_changes_nothing_and_is_light() -> None:
    found = look([])
    assert found["changed"] == []
    assert (found["handlers"], found["level"], found["threads"]) == (0, 30, 1)
    assert not {"torch", "numpy", "PIL", "onnxruntime", "typer", "rich", "pydantic"} & set(found["modules"])


def test_loading_every_name_configures_nothing_and_leaves_torch_alone() -> None:
    found = look(SURFACE)
    assert (found["handlers"], found["level"], found["threads"]) == (0, 30, 1)
    assert "state" not in found["changed"]
    assert "signals" not in found["changed"]
    assert "torch" not in found["modules"]

"""Lightmeter: a folder of pictures, or a named data set, becomes the best image classifier the time allows.

The public surface is the list below. Each name is loaded when it is first used, so that `import lightmeter` is quick,
loads no PyTorch, and configures nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same list for editors and type checkers; a test holds the two together
    from lightmeter.errors import LightmeterError as LightmeterError
    from lightmeter.nouns.bundle import Bundle as Bundle
    from lightmeter.nouns.dataset import Dataset as Dataset
    from lightmeter.nouns.evaluation import Evaluation as Evaluation
    from lightmeter.nouns.pack import Pack as Pack
    from lightmeter.nouns.prediction import Prediction as Prediction
    from lightmeter.nouns.preprocess import Preprocess as Preprocess
    from lightmeter.nouns.recipe import Recipe as Recipe
    from lightmeter.nouns.run import Run as Run
    from lightmeter.nouns.split import Split as Split
    from lightmeter.sources import open_source as open_source
    from lightmeter.verbs.again import evaluate as evaluate
    from lightmeter.verbs.again import export as export
    from lightmeter.verbs.again import report as report
    from lightmeter.verbs.check import check as check
    from lightmeter.verbs.compare import compare as compare
    from lightmeter.verbs.doctor import doctor as doctor
    from lightmeter.verbs.fetch import fetch as fetch
    from lightmeter.verbs.inspect import inspect as inspect
    from lightmeter.verbs.pack import pack as pack
    from lightmeter.verbs.predict import Predictor as Predictor
    from lightmeter.verbs.predict import predict as predict
    from lightmeter.verbs.serve import serve as serve
    from lightmeter.verbs.split import split as split
    from lightmeter.verbs.train import train as train
    from lightmeter.verbs.verify import verify as verify

__version__ = "0.1.0"

_SURFACE = {
    "Bundle": "nouns.bundle",
    "Dataset": "nouns.dataset",
    "Evaluation": "nouns.evaluation",
    "LightmeterError": "errors",
    "Pack": "nouns.pack",
    "Prediction": "nouns.prediction",
    "Predictor": "verbs.predict",
    "Preprocess": "nouns.preprocess",
    "Recipe": "nouns.recipe",
    "Run": "nouns.run",
    "Split": "nouns.split",
    "check": "verbs.check",
    "compare": "verbs.compare",
    "doctor": "verbs.doctor",
    "evaluate": "verbs.again",
    "export": "verbs.again",
    "fetch": "verbs.fetch",
    "inspect": "verbs.inspect",
    "open_source": "sources",
    "pack": "verbs.pack",
    "predict": "verbs.predict",
    "report": "verbs.again",
    "serve": "verbs.serve",
    "split": "verbs.split",
    "train": "verbs.train",
    "verify": "verbs.verify",
}

__all__ = ["__version__", *_SURFACE]


def __getattr__(name: str) -> Any:
    if name not in _SURFACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_SURFACE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""P8 and P10: one answer from a bundle, when all is ready and from a cold start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.jpegs import folder
from bench.pairs import ROOT, Outcome, interleave, ratio, side_command, sides
from bench.peers import python_of
from bench.rows.base import Row


@contextmanager
def trained() -> Iterator[tuple[Path, Path]]:
    """The run of a MobileNetV2 at 160 px that has hardly learned anything, and a picture for it."""
    from lightmeter.verbs.train import train

    settings = {"model.name": "mobilenet_v2", "preprocess.size": "160", "views": "1", "batch_size": "32"}
    with tempfile.TemporaryDirectory() as scratch:
        pictures = folder(Path(scratch) / "pictures", 60)
        run = train(
            str(pictures), epochs=0.5, recipe="resnet", settings=settings, allow_leak=True, out=Path(scratch) / "run"
        ).run
        yield run, next(pictures.rglob("*.jpg"))


def one_picture(quick: bool) -> Outcome:
    """Milliseconds on a canvas that is ready; the ratio is theirs to ours."""
    seconds = "1.5" if quick else "5"
    with trained() as (run, _):
        commands = (
            ("ours", side_command("answer_ours", str(run / "model.bundle"), seconds)),
            ("torch", side_command("torch_eager", str(run), seconds)),
        )
        with sides(*commands) as (mine, eager):
            ours, theirs = interleave(lambda: mine.go()["value"], lambda: eager.go()["value"], 3 if quick else 9)
    return Outcome("P8", ours, theirs, *ratio(theirs, ours), {"unit": "ms", "runner": mine.ready["runner"]})


def cold(quick: bool) -> Outcome:
    """Seconds from the command to the first answer, everything in the page cache; Keras' stand in the details."""
    with trained() as (run, picture):
        commands = (
            [sys.executable, "-m", "lightmeter", "predict", str(run / "model.bundle"), str(picture)],
            side_command("torch_eager", str(run), "0", str(picture)),
        )

        def seconds(command: list[str]) -> float:
            began = time.perf_counter()
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
            return time.perf_counter() - began

        for command in commands:  # so that each finds its files in memory
            seconds(command)
        ours, theirs = interleave(lambda: seconds(commands[0]), lambda: seconds(commands[1]), 3 if quick else 9)
        details: dict[str, Any] = {"unit": "s"}
        if not quick:
            model, python = str(run.parent / "model.keras"), python_of("keras")
            for words in ((model,), (model, str(picture))):
                seconds(side_command("cold_keras", *words, python=python))
            command = side_command("cold_keras", model, str(picture), python=python)
            details["by Keras"] = [seconds(command) for _ in range(3)]
    return Outcome("P10", ours, theirs, *ratio(ours, theirs), details)


P8 = Row(
    "P8",
    "time for one picture, MobileNetV2 at 160 px, from the bundle",
    "PyTorch eager",
    3.0,
    6.0,
    "above",
    one_picture,
)
P10 = Row(
    "P10",
    "cold start: command to first prediction",
    "a script with PyTorch and safetensors",
    0.35,
    0.2,
    "below",
    cold,
)

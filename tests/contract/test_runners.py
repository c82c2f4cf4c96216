from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lightmeter.exporters import EXPORTERS
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import RUNNERS, open_runner


@pytest.mark.parametrize("name", sorted(RUNNERS))
def test_a_runner_answers_the_exam(name: str, bundle: Bundle) -> None:
    exam = bundle.exam()
    logits = open_runner(bundle.model_copy(update={"graph": name}), threads=1)(exam.canvases)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, exam.logits, atol=exam.tolerance.logits)


@pytest.mark.parametrize("name", sorted(RUNNERS))
def test_a_runner_never_loads_torch(name: str, bundle: Bundle) -> None:
    program = (
        "import sys; from pathlib import Path; from lightmeter.nouns.bundle import Bundle\n"
        "from lightmeter.runners import open_runner\n"
        f"bundle = Bundle.open(Path({str(bundle.path)!r})).model_copy(update={{'graph': {name!r}}})\n"
        "assert open_runner(bundle, threads=1)(bundle.exam().canvases).shape == (8, 5)\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_what_is_exported_can_be_run() -> None:
    assert set(EXPORTERS) <= set(RUNNERS)

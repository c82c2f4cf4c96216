from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import open_runner


def test_without_its_library_it_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"lightmeter\[openvino\]"):
        open_runner(bundle, by="openvino")


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_a_process_that_tried_it_and_left_it_ends_well(bundle: Bundle) -> None:
    lines = (
        "import sys",
        "from pathlib import Path",
        "from lightmeter.nouns.bundle import Bundle",
        "from lightmeter.runners import open_runner",
        "bundle = Bundle.open(Path(sys.argv[1]))",
        "runner = open_runner(bundle, by='openvino')",
        "runner(bundle.exam().canvases)",
        "del runner",
        "open_runner(bundle)(bundle.exam().canvases)",
    )
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines), str(bundle.path)], check=False, timeout=120)
    assert ended.returncode == 0

from __future__ import annotations

import sys

import pytest

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import open_runner


def test_without_its_library_it_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"lightmeter\[openvino\]"):
        open_runner(bundle, by="openvino")

"""doctor looks for what pyproject.toml says is needed, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from lightmeter.verbs.doctor import LIBRARIES, doctor


def test_it_looks_for_every_library_of_every_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    wanted = {"base": project["dependencies"], **project["optional-dependencies"]}
    for extra, libraries in LIBRARIES.items():
        assert sorted(libraries) == sorted(re.split(r"[><=\[]", one)[0] for one in wanted[extra])


def test_this_machine_is_told_of() -> None:
    found = doctor()
    assert found.ok == (not found.problems)
    assert found.sections["versions"]["numpy"]
    assert found.sections["machine"]["cores"] >= 1
    assert found.document()["places"] == found.sections["places"]

"""predict: what could not be read shows in the table and in the exit code."""

from __future__ import annotations

import json

import pytest

from lightmeter.cli import main
from lightmeter.verbs.export import write_bundle
from tests.bundles import card, net, picture


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("predict")
    write_bundle(folder / "model.bundle", net(), **card())
    (folder / "good.jpg").write_bytes(picture())
    (folder / "bad.jpg").write_bytes(picture()[:40])
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.mark.parametrize(("files", "code"), [(["good"], 0), (["good", "bad"], 1), (["bad"], 1)])
def test_a_picture_that_cannot_be_read_is_told(
    places: dict[str, str], files: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", places["model"], *(places[name] for name in files)]
    assert main(words) == code
    assert (f"1 of {len(files)} could not be read" in capsys.readouterr().out) == bool(code)
    assert main([*words, "--json"]) == code
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [entry["label"] is None for entry in document["predictions"]] == [name == "bad" for name in files]

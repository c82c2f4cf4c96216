"""Examples come back as they were written, and are refused where they do not fit their bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lightmeter.errors import BundleError
from lightmeter.nouns.examples import FILE, Examples

FOUND = Examples(
    ("a/1.jpg", "b/2 \N{SNOWMAN}.jpg"),
    np.array([0, 2]),
    np.array([[0.5, -1, 2], [0, 4, 8]], np.float32),
    np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1),
)


def test_they_come_back_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(FOUND.dumps())
    back = Examples.load(tmp_path / FILE, 3)
    assert (back.ids, len(back)) == (FOUND.ids, 2)
    for name in ("labels", "features", "canvases"):
        assert np.array_equal(getattr(back, name), getattr(FOUND, name))
        assert getattr(back, name).dtype == getattr(FOUND, name).dtype


@pytest.mark.parametrize(
    "change",
    [
        {"labels": np.array([0, 3])},
        {"labels": np.array([-1, 0])},
        {"labels": np.array([0])},
        {"features": np.zeros((3, 3), np.float32)},
        {"features": np.full((2, 3), np.nan, np.float32)},
        {"canvases": np.zeros((2, 4, 4, 2), np.uint8)},
        {"canvases": np.zeros((2, 4, 4, 1), np.float32)},
        {"ids": ()},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(replace(FOUND, **change).dumps())
    with pytest.raises(BundleError, match=FILE):
        Examples.load(tmp_path / FILE, 3)


@pytest.mark.parametrize("content", [b"", b"no archive", FOUND.dumps()[:200]])
def test_what_cannot_be_read_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(BundleError, match="cannot be read"):
        Examples.load(tmp_path / FILE, 3)


def test_a_pickle_inside_is_not_opened(tmp_path: Path) -> None:
    np.savez(
        tmp_path / FILE,
        ids=np.array([{}], object),
        labels=FOUND.labels,
        features=FOUND.features,
        canvases=FOUND.canvases,
    )
    with pytest.raises(BundleError, match="cannot be read"):
        Examples.load(tmp_path / FILE, 3)

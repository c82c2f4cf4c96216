"""Chunks and threads change nothing but the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lightmeter.augment.base import Drawn
from lightmeter.augment.chunks import in_chunks

PIXELS = torch.arange(50 * 8 * 8 * 3).remainder(251).to(torch.uint8).view(50, 8, 8, 3)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [100, 1_000, 5_000, 1 << 20])  # less than a picture, to more than all
@pytest.mark.usefixtures("threads")
def test_each_picture_meets_what_was_drawn_for_it(count: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmeter.augment.chunks._CHUNK_BYTES", size)
    torch.set_num_threads(count)

    def add(pixels: Tensor, drawn: Drawn) -> Tensor:
        return pixels + drawn["own"].view(-1, 1, 1, 1) + drawn["all"]

    def double(pixels: Tensor, drawn: Drawn) -> Tensor:
        return pixels * 2

    drawn = {"own": torch.arange(50, dtype=torch.uint8), "all": torch.tensor([3], dtype=torch.uint8)}
    expected = double(add(PIXELS, drawn), {})
    assert torch.equal(in_chunks(PIXELS, [(add, drawn), (double, {})]), expected)


@pytest.mark.usefixtures("threads")
def test_threads_share_the_work_and_none_brings_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmeter.augment.chunks._CHUNK_BYTES", 1_000)
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=30)
    seen: dict[str, int] = {}

    def look(pixels: Tensor, drawn: Drawn) -> Tensor:
        if threading.current_thread().name not in seen:
            both.wait()
        seen[threading.current_thread().name] = torch.get_num_threads()
        return pixels

    in_chunks(PIXELS, [(look, {})])
    assert list(seen.values()) == [1, 1]
    assert torch.get_num_threads() == 2
    later: list[int] = []
    new = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert later == [2]


@pytest.mark.usefixtures("threads")
def test_what_goes_wrong_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightmeter.augment.chunks._CHUNK_BYTES", 1_000)
    torch.set_num_threads(2)

    def fail(pixels: Tensor, drawn: Drawn) -> Tensor:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        in_chunks(PIXELS, [(fail, {})])

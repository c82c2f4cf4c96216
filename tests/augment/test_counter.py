"""Randomness follows from the numbers that name a draw, the same everywhere and for ever."""

from __future__ import annotations

import torch

from lightmeter.augment.counter import generator_of, hash_rows, seed_of

MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """The output function in plain integers."""
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_seeds_are_pinned() -> None:
    # A change here changes every result of every recipe: it must be meant.
    assert seed_of(0) == 4246866556266386882
    assert seed_of(0, 1, 2, -1) == 4849313564704384729


def test_each_number_and_its_place_count() -> None:
    seeds = {seed_of(*numbers) for numbers in [(0,), (0, 0), (1, 0), (0, 1), (1, 23), (12, 3), (123,), (-1,), (1,)]}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_are_fresh_and_equal() -> None:
    first, second = generator_of(3, 4), generator_of(3, 4)
    torch.rand(5, generator=first)
    assert torch.equal(torch.rand(5, generator=generator_of(3, 4)), torch.rand(5, generator=second))


def test_rows_are_hashed_as_in_plain_integers() -> None:
    rows = torch.tensor([0, 1, 2, 49_999, 2**40])
    expected = [splitmix64((row + seed_of(7)) & MASK) for row in rows.tolist()]
    assert [value & MASK for value in hash_rows(rows, 7).tolist()] == expected


def test_every_bit_of_a_hash_is_even_and_free_of_its_neighbours() -> None:
    n = 20_000
    hashed = hash_rows(torch.arange(n), 0)
    for bit in (0, 1, 31, 32, 63):
        side = (hashed >> bit & 1).double()
        assert abs(side.mean() - 0.5) < 4 * 0.5 / n**0.5
        for lag in (1, 2, 3):
            agreement = (side[lag:] == side[:-lag]).double().mean()
            assert abs(agreement - 0.5) < 4 * 0.5 / n**0.5

"""Counter-based randomness: the numbers that name a draw decide it, not what was drawn before."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits that follows from the numbers alone, the same on every machine and in every process."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_of(*numbers: int) -> torch.Generator:
    """A fresh generator on the CPU, seeded by `seed_of`."""
    return torch.Generator().manual_seed(seed_of(*numbers))


def hash_rows(rows: Tensor, seed: int) -> Tensor:
    """Well-mixed bits int64[N] for row numbers int64[N], each depending on its row and the seed alone.

    Source: the output function of SplitMix64 (Steele et al., 2014), started at a hash of the seed. Products wrap
    around at 64 bits, as they do there.
    """
    x = rows + seed_of(seed)
    x = (x ^ _shift_right(x, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    x = (x ^ _shift_right(x, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """A logical shift; torch's own would draw the sign bit in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

"""Counter-based randomness: the numbers that name a draw decide it, not what was drawn before."""

from __future__ import annotations

import hashlib

import torch


def seed_of(*numbers: int) -> int:
    """A seed of 63 bits that follows from the numbers alone, the same on every machine and in every process."""
    digest = hashlib.blake2b(",".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_of(*numbers: int) -> torch.Generator:
    """A fresh generator on the CPU, seeded by `seed_of`."""
    return torch.Generator().manual_seed(seed_of(*numbers))

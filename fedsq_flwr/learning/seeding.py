"""One seed for each purpose, silo and round, derived from the run's seed.

Streams that depend on nothing else make a run repeatable whatever the order in which silos train, in
one process or many, resumed or not.
"""

import hashlib

import torch


def derive_seed(seed: int, *path: int | str) -> int:
    """Return a 63-bit seed for the stream named by ``path``, for example ``(0, "train", round, silo)``."""
    name = "/".join([str(seed), *map(str, path)])
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def generator_for(seed: int, *path: int | str) -> torch.Generator:
    """Return a CPU generator for the stream named by ``path``."""
    return torch.Generator().manual_seed(derive_seed(seed, *path))

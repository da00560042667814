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


def global_states(device: torch.device) -> list[torch.Tensor]:
    """Return the states of the generators that `seed_global_generators` seeds: the CPU's, and that of ``device``."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def set_global_states(states: list[torch.Tensor], device: torch.device) -> None:
    """Set the states that `global_states` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])


def seed_global_generators(seed: int, device: torch.device) -> None:
    """Seed the CPU's global generator and that of ``device``, which dropout draws from, and no other.

    `torch.manual_seed` would reseed every GPU of the machine.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)

"""Random numbers that nobody else can work out, for private training; and seeded ones, for simulations.

A torch generator would not do: the one of the CPU keeps 32 bits of its seed, which a server could try out, and the
state of a Mersenne twister follows from what it has drawn.
"""

import math
import os
from typing import Protocol

import torch
from torch import Tensor


class Randomness(Protocol):
    """A source of independent draws."""

    def uniform(self, count: int) -> Tensor:
        """Draw ``count`` numbers from 0, included, to 1, excluded: float64 on the CPU."""
        ...


class SystemRandomness:
    """Draws of the operating system: 53 bits of `os.urandom` for each number."""

    def uniform(self, count: int) -> Tensor:
        """See `Randomness`."""
        drawn = torch.frombuffer(bytearray(os.urandom(8 * count)), dtype=torch.int64) if count else torch.empty(0)
        return (drawn.to(torch.int64) & (2**53 - 1)).double() * 2.0**-53


class SeededRandomness:
    """Draws that a seed fixes. For simulations only: whoever knows the seed can take the noise away again."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, count: int) -> Tensor:
        """See `Randomness`."""
        return torch.rand(count, dtype=torch.float64, generator=self._generator)


def normal(randomness: Randomness, count: int) -> Tensor:
    """Draw ``count`` standard normal numbers, float64 on the CPU, by the formula of Box and Muller (1958).

    The largest possible is 8.6: the tail beyond it, of probability 1e-17, is missing.
    """
    half = -(-count // 2)
    radius = (-2 * torch.log1p(-randomness.uniform(half))).sqrt()
    angle = 2 * math.pi * randomness.uniform(half)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]


def draw_seed(randomness: Randomness) -> int:
    """Draw a seed of 53 bits, for draws whose values need not be secret."""
    return int(randomness.uniform(1) * 2**53)

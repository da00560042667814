"""Batches of a data set that lies in memory."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def shuffled_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices 0 to ``count - 1`` in random order, in batches; each exactly once.

    A remainder of one sample joins the batch before it: batch norm cannot learn from a single one.
    """
    yield from _without_single(torch.split(torch.randperm(count, generator=generator), batch_size))


def ordered_batches(count: int, batch_size: int) -> Iterator[Tensor]:
    """Yield the indices 0 to ``count - 1`` in their order, in batches as `shuffled_batches` makes them."""
    yield from _without_single(torch.split(torch.arange(count), batch_size))


def batch_count(count: int, batch_size: int) -> int:
    """Return how many batches `shuffled_batches` makes."""
    whole, rest = divmod(count, batch_size)
    return whole + (rest > 1 or (rest == 1 and whole == 0))


def _without_single(split: Sequence[Tensor]) -> list[Tensor]:
    batches = list(split)
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] = torch.cat([batches[-1], last])
    return batches

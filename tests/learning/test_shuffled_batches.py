"""Each sample once an epoch, in random order."""

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsq_flwr.learning.batches import shuffled_batches


def batches(count: int, size: int, seed: int) -> list[list[int]]:
    return [batch.tolist() for batch in shuffled_batches(count, size, torch.Generator().manual_seed(seed))]


@given(count=st.integers(1, 200), size=st.integers(2, 50), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=100)
def test_every_sample_comes_exactly_once_and_no_batch_is_a_single_sample(count: int, size: int, seed: int) -> None:
    drawn = batches(count, size, seed)
    assert sorted(itertools.chain(*drawn)) == list(range(count))
    assert all(len(batch) == size for batch in drawn[:-1])
    assert len(drawn[-1]) <= size + 1
    assert len(drawn[-1]) > 1 or count == 1


def test_a_remainder_of_one_joins_the_batch_before_it() -> None:
    assert [len(batch) for batch in batches(9, 4, 0)] == [4, 5]
    assert [len(batch) for batch in batches(10, 4, 0)] == [4, 4, 2]
    assert [len(batch) for batch in batches(8, 4, 0)] == [4, 4]
    assert [len(batch) for batch in batches(1, 4, 0)] == [1]


def test_the_order_depends_on_the_generator_only_and_goes_on_from_epoch_to_epoch() -> None:
    assert batches(50, 8, 3) == batches(50, 8, 3)
    assert batches(50, 8, 3) != batches(50, 8, 4)
    generator = torch.Generator().manual_seed(0)
    epochs = [torch.cat(list(shuffled_batches(50, 8, generator))).tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert epochs[0] != list(range(50))

"""Thread counts hold within a block and no longer."""

import pytest
import torch

from fedsq_flwr.learning.threads import torch_threads


def test_the_count_holds_within_the_block_and_is_restored() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_the_count_is_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), torch_threads(before + 2):
        raise KeyError
    assert torch.get_num_threads() == before


def test_blocks_nest() -> None:
    with torch_threads(3), torch_threads(2):
        assert torch.get_num_threads() == 2

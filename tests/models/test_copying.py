"""Copies of a network share nothing with it, whatever it holds from an earlier pass."""

import threading

import pytest
import torch
from torch import nn

from fedsq_flwr.gating import QuantitativeCopy
from fedsq_flwr.models.copying import copied


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))


def test_a_copy_shares_no_memory_and_keeps_ties() -> None:
    original = network()
    original.tied = original[0]
    copy = copied(original)
    assert copy.tied is copy[0]
    assert {t.data_ptr() for t in copy.parameters()}.isdisjoint(t.data_ptr() for t in original.parameters())


def test_results_of_an_earlier_pass_are_copied_without_their_history() -> None:
    original = network()
    original[1].last = original(torch.randn(3, 4))
    copy = copied(original)
    assert torch.equal(copy[1].last, original[1].last)
    assert not copy[1].last.requires_grad
    assert original[1].last.requires_grad


@pytest.mark.parametrize("held", [threading.Lock(), (number for number in range(3))], ids=["a lock", "a generator"])
def test_what_cannot_be_copied_is_told_in_one_line(held: object, model_class: type) -> None:
    original = network()
    original[1][0].held = held
    for use in (copied, model_class, QuantitativeCopy):
        with pytest.raises(ValueError, match=r"^the Sequential cannot be copied: cannot pickle") as caught:
            use(original)
        assert "\n" not in str(caught.value)

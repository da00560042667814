"""Gates that decide a part of each activation: between fixed gates and the network's own ReLUs."""

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr import DualCopy
from tests.gating.gated_networks import BUILDERS, batch_for, build, perturb


def changed(network: nn.Module) -> DualCopy:
    """A dual copy in double precision whose quantitative copy has moved away from the structural one."""
    dual = DualCopy(network.double().eval())
    perturb(dual.quantitative)
    return dual.eval()


def at(dual: DualCopy, share: float, images: Tensor) -> Tensor:
    dual.gate_share = share
    return dual(images)


def one_layer(in_place: bool) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=in_place), nn.Linear(5, 3))


@pytest.mark.parametrize("in_place", [False, True])
def test_each_activation_is_a_mixture_of_the_gated_one_and_the_own(in_place):
    dual, images = changed(one_layer(in_place)), torch.randn(8, 6, dtype=torch.float64)
    mixed = at(dual, 0.25, images)  # one ReLU, so that the logits mix as the activations do
    torch.testing.assert_close(mixed, 0.25 * at(dual, 1.0, images) + 0.75 * dual.to_plain()(images))


@pytest.mark.parametrize("in_place", [False, True])
def test_gradients_are_those_of_the_mixture(in_place):
    dual, images = changed(one_layer(in_place)), torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    dual.gate_share = 0.5
    assert torch.autograd.gradcheck(dual, (images,))


# Unpooling puts values back where the gates say, whoever has pooled them.
@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "pool: max_unpool2d"])
def test_a_vanishing_share_leaves_the_network_as_it_is_by_itself(name):
    network = build(name)
    dual, images = changed(network), batch_for(network)[0].double()
    torch.testing.assert_close(at(dual, 0.0, images), dual.to_plain()(images))


def test_kept_gates_decide_their_part_as_new_ones_do():
    dual, images = changed(one_layer(False)), torch.randn(8, 6, dtype=torch.float64)
    dual.gate_share = 0.5
    assert torch.equal(dual(images), dual(images, dual.gates(images)))

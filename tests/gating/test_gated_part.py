"""Gates that are fixed in a part of a network only."""

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr import DualCopy
from fedsq_flwr.gating.export import export_dual
from tests.gating.gated_networks import BUILDERS, batch_for, build, perturb


def changed(network: nn.Module, begin: float, end: float) -> DualCopy:
    """A dual copy in double precision whose quantitative copy has moved away from the structural one."""
    dual = DualCopy(network.double().eval(), gated_from=begin, gated_to=end)
    perturb(dual.quantitative)
    return dual.eval()


def chain(in_place: bool = False) -> nn.Sequential:
    """Three gates, the middle one a pooling's winners."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(inplace=in_place), nn.MaxPool2d(2), nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=in_place), nn.Flatten(), nn.Linear(4 * 4 * 4, 3),
    )  # fmt: skip


def by_hand(dual: DualCopy, images: Tensor, fixed: range) -> Tensor:
    """The quantitative chain with the ``fixed`` gates taken from the structural one, written out."""
    structural, quantitative, seen = images, images, 0
    for frozen, module in zip(dual.structural, dual.quantitative, strict=True):
        structural_before, structural = structural, frozen(structural.clone())
        before, quantitative = quantitative, module(quantitative.clone())
        if isinstance(module, nn.ReLU):
            quantitative = before * (structural > 0) if seen in fixed else quantitative
            seen += 1
        elif isinstance(module, nn.MaxPool2d):
            if seen in fixed:
                _, winners = nn.functional.max_pool2d(structural_before, 2, return_indices=True)
                quantitative = before.flatten(2).gather(2, winners.flatten(2)).view_as(quantitative)
            seen += 1
    return quantitative


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    ("begin", "end", "fixed"),
    [
        (0, 0.01, range(1)), (0, 1 / 3, range(1)), (0, 0.34, range(2)), (0, 0.5, range(2)), (0, 2 / 3, range(2)),
        (0, 1, range(3)), (0.01, 1, range(1, 3)), (1 / 3, 2 / 3, range(1, 2)), (0.5, 1, range(2, 3)),
    ],
)  # fmt: skip
def test_the_gates_of_the_part_are_fixed_and_the_others_are_the_networks_own(begin, end, fixed, in_place):
    dual, images = changed(chain(in_place), begin, end), torch.randn(8, 1, 14, 14, dtype=torch.float64)
    expected = by_hand(dual, images, fixed)
    torch.testing.assert_close(dual(images), expected)
    torch.testing.assert_close(dual(images, dual.gates(images)), expected)  # kept gates, too


def test_a_whole_number_of_gates_is_not_rounded_up_for_the_sake_of_its_binary_form():
    torch.manual_seed(0)
    layers = [layer for _ in range(20) for layer in (nn.Linear(8, 8), nn.ReLU())]
    dual, images = changed(nn.Sequential(*layers, nn.Linear(8, 2)), 0.0, 1.0), torch.randn(64, 8, dtype=torch.float64)
    outputs = {}
    for end in (0.54, 0.55, 0.6):  # 0.55 * 20 is 11.000000000000002
        dual.gated_part = 0.0, end
        outputs[end] = dual(images)
    assert torch.equal(outputs[0.55], outputs[0.54])
    assert not torch.equal(outputs[0.55], outputs[0.6])


def test_gradients_are_those_of_the_mapping():
    dual, images = changed(chain(), 0.2, 0.5), torch.randn(4, 1, 14, 14, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(dual, (images,))


def test_the_exported_program_has_the_same_part():
    dual, images = changed(chain(), 0.5, 1.0), torch.randn(8, 1, 14, 14, dtype=torch.float64)
    program = export_dual(dual, images).module()
    with torch.no_grad():
        torch.testing.assert_close(program(images), dual(images))


# Unpooling puts values back where the gates say, whoever has pooled them.
@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "pool: max_unpool2d"])
@pytest.mark.parametrize("part", [{"gated_to": 0.5}, {"gated_from": 0.5}])
def test_at_the_start_any_part_is_the_plain_network(name, part):
    network = build(name).eval()
    images = batch_for(network)[0]
    dual = DualCopy(network, **part).eval()
    assert torch.equal(dual(images), network(images))


@pytest.mark.parametrize("part", [(0.5, 0.5), (0.6, 0.4), (-0.1, 1.0), (0.0, 1.5), (0.0, float("nan"))])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(ValueError, match=r"must be 0 <= gated_from < gated_to <= 1"):
        DualCopy(chain(), gated_from=part[0], gated_to=part[1])

"""Flips of a network's own gates against fixed ones: counted right, named right, and nothing is disturbed."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, GateMismatchError, QuantitativeCopy
from fedsq_flwr.gating.probe.flips import LayerGates, fixed_gates, flip_rate, gate_flips, own_gates
from tests.gating.gated_networks import BUILDERS, batch_for, build, perturb, same_bits


class Scaled(nn.Module):
    """``relu(scale * x)`` and its winner among four: numbers that can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.scale.weight)
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool1d(F.relu(self.scale(x[..., None])[..., 0]), 4)[:, 0]


IMAGES = torch.tensor([[[1.0, -1.0, 2.0, -2.0]], [[-3.0, -1.0, -2.0, 3.0]]])


def test_flips_and_densities_are_the_numbers_worked_out_by_hand() -> None:
    dual = DualCopy(Scaled().eval())
    fixed = fixed_gates(dual, IMAGES)
    with torch.no_grad():
        dual.quantitative.scale.weight.neg_()
    # Signs all change. Winners were places 2 and 3; now they are place 3 (value 2) and place 0 (value 3).
    assert gate_flips(dual, IMAGES, fixed) == (
        LayerGates(layer="Scaled", kind="relu", gates=4, flip_rate=1.0, density=3 / 8, own_density=5 / 8),
        LayerGates(layer="Scaled#2", kind="max_pool", gates=1, flip_rate=1.0, density=None, own_density=None),
    )


@pytest.mark.parametrize("name", [n for n in BUILDERS if n not in ("torchvision ResNet-18", "CIFAR ResNet-20")])
def test_at_the_start_nothing_is_flipped_and_every_gate_is_named(name: str) -> None:
    network = build(name)
    images, _ = batch_for(network)
    dual = DualCopy(network)
    fixed = fixed_gates(dual, images)
    layers = gate_flips(dual, images, fixed)
    assert [layer.flip_rate for layer in layers] == [0.0] * len(layers)
    assert len(layers) == len(fixed.masks()) + len(fixed.winners())
    assert len({layer.layer for layer in layers}) == len(layers)
    relus = [layer for layer in layers if layer.kind == "relu"]
    assert [layer.density for layer in relus] == [float(mask.double().mean()) for mask in fixed.masks()]


def test_layers_are_named_in_forward_order(dual: DualCopy, images: Tensor) -> None:
    layers = gate_flips(dual, images, fixed_gates(dual, images))
    assert [layer.layer for layer in layers] == ["relu", "relu#2", "relu#3"]
    resnet = DualCopy(build("CIFAR ResNet-8"))
    small = batch_for(build("CIFAR ResNet-8"))[0]
    names = [layer.layer for layer in gate_flips(resnet, small, fixed_gates(resnet, small))]
    assert names[:4] == ["relu", "layer1.0.relu", "layer1.0.relu#2", "layer2.0.relu"]


def test_flips_are_those_of_the_plain_network(dual: DualCopy, images: Tensor) -> None:
    fixed = fixed_gates(dual, images)
    perturb(dual.quantitative)
    plain = DualCopy(dual.to_plain())
    expected = [
        float((own != gate).double().mean())
        for own, gate in zip(plain.gates(images).masks(), fixed.masks(), strict=True)
    ]
    layers = gate_flips(dual, images, fixed)
    assert [layer.flip_rate for layer in layers] == pytest.approx(expected)
    assert 0 < flip_rate(layers) < 1


def test_a_network_without_fixed_gates_is_compared_with_its_start(network: nn.Module, images: Tensor) -> None:
    plain, dual = QuantitativeCopy(network), DualCopy(network)
    start = fixed_gates(plain, images)
    for model in (plain, dual):
        perturb(model.quantitative)
    # The same weights, the same start: the diagnosis does not depend on the method.
    assert gate_flips(plain, images, start) == gate_flips(dual, images, fixed_gates(dual, images))
    assert flip_rate(gate_flips(plain, images, start)) > 0


def test_mode_and_numbers_stay(dual: DualCopy, images: Tensor) -> None:
    dual.train()
    before = {name: tensor.clone() for name, tensor in dual.state_dict().items()}
    random = torch.get_rng_state()
    gate_flips(dual, images, fixed_gates(dual, images))
    assert dual.training
    assert not dual.structural.training
    assert all(same_bits(tensor, before[name]) for name, tensor in dual.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_dropout_and_batch_statistics_do_not_flip_gates() -> None:
    network = build("relu: dropout")
    images, _ = batch_for(network)
    dual = DualCopy(network).train()
    assert flip_rate(gate_flips(dual, images, fixed_gates(dual, images))) == 0


def test_winners_are_compared_only_where_they_are_gates() -> None:
    network = build("pool: nn.MaxPool2d")
    images, _ = batch_for(network)
    without = DualCopy(network, pool_gates=False)
    kinds = [layer.kind for layer in gate_flips(without, images, without.gates(images))]
    assert kinds == ["relu", "relu"]
    with_winners = DualCopy(network)
    kinds = [layer.kind for layer in gate_flips(with_winners, images, with_winners.gates(images))]
    assert kinds == ["relu", "max_pool", "relu"]


def test_gates_of_other_images_are_refused(dual: DualCopy, images: Tensor) -> None:
    with pytest.raises(GateMismatchError, match="another network, or other images"):
        gate_flips(dual, images, dual.gates(images[:8]))
    other = DualCopy(build("linear layers"))
    with pytest.raises(GateMismatchError):
        gate_flips(dual, images, own_gates(other, batch_for(build("linear layers"))[0]))


def test_the_overall_rate_counts_every_sign_alike() -> None:
    def layer(kind: str, gates: int, rate: float) -> LayerGates:
        return LayerGates("x", kind, gates, rate, None, None)

    assert flip_rate([layer("relu", 30, 0.5), layer("max_pool", 500, 1.0), layer("relu", 10, 0.1)]) == 0.4
    assert flip_rate([]) == 0

"""The structural copy is frozen: no gradient, no parameter, no place in an optimiser or a message."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy
from tests.gating.gated_networks import CLASSES, batch_for, build, perturb, same_bits


def test_parameters_are_the_quantitative_copys_and_no_others(dual: DualCopy) -> None:
    assert [id(p) for p in dual.parameters()] == [id(p) for p in dual.quantitative.parameters()]
    assert list(dual.structural.parameters()) == []


@pytest.mark.parametrize("name", ["tied weights", "CIFAR ResNet-8", "torchvision ResNet-18", "linear layers"])
def test_the_structural_copy_keeps_every_tensor_as_a_buffer(name: str) -> None:
    network = build(name)
    structural = DualCopy(network).structural
    assert list(structural.parameters()) == []
    expected = network.state_dict()
    assert structural.state_dict().keys() == expected.keys()
    assert all(same_bits(expected[key], tensor) for key, tensor in structural.state_dict().items())


def test_the_structural_copy_shares_no_memory_with_the_network_or_the_quantitative_copy() -> None:
    network = build("residual add")
    dual = DualCopy(network)
    places = [
        {tensor.data_ptr() for tensor in module.state_dict().values()}
        for module in (network, dual.structural, dual.quantitative)
    ]
    assert sum(map(len, places)) == len(set.union(*places))


def test_training_gives_the_structural_copy_no_gradient_and_moves_none_of_its_bits(
    dual: DualCopy, images: Tensor, labels: Tensor
) -> None:
    before = {name: tensor.clone() for name, tensor in dual.structural.state_dict().items()}
    dual.train()
    optimizer = torch.optim.SGD(dual.parameters(), 0.5, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        F.cross_entropy(dual(images), labels).backward()
        optimizer.step()
    assert all(tensor.grad is None for tensor in dual.structural.buffers())
    assert all(same_bits(before[name], tensor) for name, tensor in dual.structural.state_dict().items())
    in_optimizer = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert in_optimizer.isdisjoint(id(tensor) for tensor in dual.structural.buffers())


def test_train_and_eval_leave_the_structural_copy_in_evaluation_mode(network: nn.Module) -> None:
    dual = DualCopy(network)
    for switch in (dual.train, dual.eval, dual.train):
        switch()
        assert not any(module.training for module in dual.structural.modules())
    assert dual.training
    assert all(module.training for module in dual.quantitative.modules())
    assert dual.eval() is dual
    assert dual.train() is dual


def test_a_network_in_training_mode_is_frozen_in_evaluation_mode(network: nn.Module) -> None:
    dual = DualCopy(network.train())
    assert dual.training
    assert not any(module.training for module in dual.structural.modules())


def test_refreshing_takes_the_quantitative_copy_for_the_structural_one(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    before = dual.fingerprint

    dual.refresh_structure()

    assert dual.fingerprint != before
    assert dual.fingerprint == DualCopy(dual.to_plain()).fingerprint
    assert same_bits(dual(images), dual.quantitative(images))


def test_a_refreshed_structure_is_as_frozen_as_the_first(dual: DualCopy, images: Tensor, labels: Tensor) -> None:
    dual.train()
    dual.refresh_structure()
    fingerprint = dual.fingerprint

    F.cross_entropy(dual(images), labels).backward()
    torch.optim.SGD(dual.parameters(), 0.5).step()

    assert list(dual.structural.parameters()) == []
    assert not any(module.training for module in dual.structural.modules())
    assert dual.fingerprint == fingerprint


def test_the_copies_move_to_another_dtype_together() -> None:
    network = build("residual add")
    images, _ = batch_for(network)
    dual = DualCopy(network).double()
    assert {tensor.dtype for tensor in dual.structural.buffers() if tensor.is_floating_point()} == {torch.float64}
    assert dual(images.double()).dtype == torch.float64


def test_a_structural_state_loaded_elsewhere_gives_the_same_gates_and_fingerprint(
    dual: DualCopy, images: Tensor
) -> None:
    other = DualCopy(build("residual add"))
    other.replace_head(3)  # heads may differ: they come after the last gate
    perturb(dual.quantitative)
    dual.train()(images)
    dual.refresh_structure()
    assert other.fingerprint != dual.fingerprint

    other.load_structural_state(dual.structural_state())

    assert other.fingerprint == dual.fingerprint
    assert all(
        torch.equal(a, b) for a, b in zip(dual.gates(images).masks(), other.gates(images).masks(), strict=True)
    )
    assert list(other.structural.parameters()) == []


def test_the_structural_state_is_what_the_fingerprint_covers(dual: DualCopy) -> None:
    state = dual.structural_state()
    assert not any(name.startswith("fc.") or "num_batches" in name for name in state)
    for name in state:
        before = dual.fingerprint
        state[name].view(-1)[0] += 1
        assert dual.fingerprint != before


def test_tied_weights_come_to_one_fingerprint_too() -> None:
    dual, other = DualCopy(build("tied weights")), DualCopy(build("tied weights"))
    perturb(dual.quantitative)
    dual.refresh_structure()
    other.load_structural_state(dual.structural_state())
    assert other.fingerprint == dual.fingerprint


def test_a_structural_state_that_does_not_fit_changes_nothing(dual: DualCopy) -> None:
    before = dual.fingerprint
    with pytest.raises(ValueError, match=r"structural state: missing \['a.weight'"):
        dual.load_structural_state({})
    assert dual.fingerprint == before


def test_a_released_copy_has_its_own_relus_and_no_fingerprint(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    gated, fingerprint = dual(images), dual.fingerprint
    dual.gated = False
    assert same_bits(dual(images), dual.to_plain()(images))
    assert not torch.equal(dual(images), gated)
    assert dual.fingerprint == ""
    with pytest.raises(ValueError, match="its ReLUs are its own"):
        dual(images, dual.gates(images))
    dual.gated = True
    assert same_bits(dual(images), gated)
    assert dual.fingerprint == fingerprint


def test_nothing_of_the_structural_copy_is_in_the_state(dual: DualCopy) -> None:
    structural = {tensor.data_ptr() for tensor in dual.structural.state_dict().values()}
    assert structural.isdisjoint(tensor.data_ptr() for tensor in dual.quantitative_state().values())


def test_a_new_head_leaves_the_structural_copy_as_it_is(dual: DualCopy, images: Tensor) -> None:
    before = dual.gates(images)
    dual.replace_head(3)
    assert tuple(dual.structural.fc.weight.shape) == (CLASSES, 6)
    assert all(torch.equal(a, b) for a, b in zip(before.masks(), dual.gates(images).masks(), strict=True))


def test_a_dual_copy_that_has_learnt_is_not_its_plain_network(dual: DualCopy, images: Tensor) -> None:
    perturb(dual.quantitative)
    assert not torch.equal(dual.to_plain()(images), dual(images))


def statistics(dual: DualCopy) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in dual.structural.named_buffers() if "running" in name}


@pytest.mark.parametrize("batch_norm", ["batch", "frozen", "local"])
def test_the_structural_statistics_never_move(batch_norm: str, images: Tensor) -> None:
    dual = DualCopy(build("residual add"), batch_norm=batch_norm).train()
    before = statistics(dual)
    dual(images)
    dual.gates(images)
    assert all(same_bits(before[name], tensor) for name, tensor in statistics(dual).items())

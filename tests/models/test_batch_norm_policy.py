"""Batch norm: statistics by batch that travel, or frozen ones that do not; one policy for every method."""

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.gating import QuantitativeCopy
from tests.gating.gated_networks import batch_for, build, perturb, same_bits


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in network.named_buffers() if "running" in name}


def test_by_batch_the_running_statistics_learn_and_travel(
    model_class: type[QuantitativeCopy], images: Tensor
) -> None:
    model = model_class(build("residual add")).train()
    before = statistics(model.quantitative)
    model(images)
    after = statistics(model.quantitative)
    assert before.keys() == {"norm.running_mean", "norm.running_var"}
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert before.keys() <= model.quantitative_state().keys()


def test_frozen_the_running_statistics_neither_learn_nor_travel(
    model_class: type[QuantitativeCopy], images: Tensor
) -> None:
    model = model_class(build("residual add"), batch_norm="frozen").train()
    before = statistics(model.quantitative)
    model(images)
    assert all(same_bits(before[name], tensor) for name, tensor in statistics(model.quantitative).items())
    assert before.keys().isdisjoint(model.quantitative_state())


def test_frozen_training_and_evaluation_give_the_same_logits(
    model_class: type[QuantitativeCopy], images: Tensor
) -> None:
    frozen = model_class(build("residual add"), batch_norm="frozen")
    by_batch = model_class(build("residual add"), batch_norm="batch")
    assert same_bits(frozen.train()(images), frozen.eval()(images))
    assert not torch.equal(by_batch.train()(images), by_batch.eval()(images))


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_scale_and_shift_learn_and_travel_under_either_policy(
    model_class: type[QuantitativeCopy], batch_norm: str
) -> None:
    model = model_class(build("residual add"), batch_norm=batch_norm).train()
    model(batch_for(model.quantitative)[0]).square().sum().backward()
    for name in ("norm.weight", "norm.bias"):
        assert name in model.quantitative_state()
        assert model.quantitative.get_parameter(name).grad.abs().sum() > 0


@pytest.mark.parametrize("batch_norm", ["batch", "frozen", "local"])
@pytest.mark.parametrize("name", ["CIFAR ResNet-8", "torchvision ResNet-18", "linear layers"])
def test_the_count_of_batches_never_travels(model_class: type[QuantitativeCopy], name: str, batch_norm: str) -> None:
    state = model_class(build(name), batch_norm=batch_norm).quantitative_state()
    assert not any("num_batches_tracked" in key for key in state)
    assert all(tensor.is_floating_point() for tensor in state.values())


def test_local_batch_norm_learns_as_by_batch_and_none_of_it_travels(
    model_class: type[QuantitativeCopy], images: Tensor
) -> None:
    model = model_class(build("residual add"), batch_norm="local").train()
    before = {name: tensor.clone() for name, tensor in model.quantitative.named_parameters()}
    before |= statistics(model.quantitative)
    model(images).square().sum().backward()
    torch.optim.SGD(model.parameters(), 0.1).step()
    after = dict(model.quantitative.named_parameters()) | statistics(model.quantitative)
    assert not any(torch.equal(before[name], after[name]) for name in before if name.startswith("norm."))
    assert not any(name.startswith("norm.") for name in model.quantitative_state())
    assert {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"} <= model.local_state().keys()


@pytest.mark.parametrize("batch_norm", ["batch", "frozen", "local"])
@pytest.mark.parametrize("name", ["CIFAR ResNet-8", "linear layers"])
def test_what_learns_travels_or_stays_and_never_both(
    model_class: type[QuantitativeCopy], name: str, batch_norm: str
) -> None:
    model = model_class(build(name), batch_norm=batch_norm)
    travels, stays = model.quantitative_state().keys(), model.local_state().keys()
    assert travels.isdisjoint(stays)
    assert {name for name, _ in model.quantitative.named_parameters()} <= travels | stays
    assert (stays != set()) is (batch_norm == "local")


def test_the_local_state_moves_a_silos_batch_norm_to_another_model(
    model_class: type[QuantitativeCopy], images: Tensor
) -> None:
    model, other = (model_class(build("residual add"), batch_norm="local") for _ in range(2))
    perturb(model.quantitative, only="norm")
    model.train()(images)
    assert not torch.equal(model.eval()(images), other.eval()(images))
    other.load_local_state(model.local_state())
    assert same_bits(model.eval()(images), other.eval()(images))
    assert other.quantitative.norm.num_batches_tracked == 1


def test_a_local_state_that_does_not_fit_is_refused(model_class: type[QuantitativeCopy]) -> None:
    with pytest.raises(ValueError, match=r"local state: missing \['norm.bias'"):
        model_class(build("residual add"), batch_norm="local").load_local_state({})


def test_an_unknown_policy_is_refused_by_name(model_class: type[QuantitativeCopy]) -> None:
    with pytest.raises(ValueError, match=r"batch_norm='nope': allowed are batch, frozen, local"):
        model_class(build("residual add"), batch_norm="nope")


def test_frozen_reaches_every_kind_of_batch_norm(model_class: type[QuantitativeCopy]) -> None:
    network = nn.Sequential(
        nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.SyncBatchNorm(4), nn.Dropout(), nn.Linear(4, 2)
    )
    model = model_class(network, batch_norm="frozen").train()
    assert [module.training for module in model.quantitative] == [False, False, False, False, True, True]

"""Batch norm: statistics by batch that travel, or frozen ones that do not; one policy for every method."""

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from tests.gating.gated_networks import batch_for, build, same_bits

MODELS = pytest.mark.parametrize("model_class", [DualCopy, QuantitativeCopy])


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: t.clone() for name, t in network.named_buffers() if "running" in name}


@MODELS
def test_by_batch_the_running_statistics_learn_and_travel(model_class: type, images: Tensor) -> None:
    model = model_class(build("residual add")).train()
    before = statistics(model.quantitative)
    model(images)
    after = statistics(model.quantitative)
    assert before.keys() == {"norm.running_mean", "norm.running_var"}
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert before.keys() <= model.quantitative_state().keys()


@MODELS
def test_frozen_the_running_statistics_neither_learn_nor_travel(model_class: type, images: Tensor) -> None:
    model = model_class(build("residual add"), batch_norm="frozen").train()
    before = statistics(model.quantitative)
    model(images)
    assert all(same_bits(before[name], tensor) for name, tensor in statistics(model.quantitative).items())
    assert before.keys().isdisjoint(model.quantitative_state())


@MODELS
def test_frozen_training_and_evaluation_give_the_same_logits(model_class: type, images: Tensor) -> None:
    frozen = model_class(build("residual add"), batch_norm="frozen")
    by_batch = model_class(build("residual add"), batch_norm="batch")
    assert same_bits(frozen.train()(images), frozen.eval()(images))
    assert not torch.equal(by_batch.train()(images), by_batch.eval()(images))


@MODELS
@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_scale_and_shift_learn_and_travel_under_either_policy(model_class: type, batch_norm: str) -> None:
    model = model_class(build("residual add"), batch_norm=batch_norm).train()
    model(batch_for(model.quantitative)[0]).square().sum().backward()
    for name in ("norm.weight", "norm.bias"):
        assert name in model.quantitative_state()
        assert model.quantitative.get_parameter(name).grad.abs().sum() > 0


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_the_structural_statistics_never_move(batch_norm: str, images: Tensor) -> None:
    dual = DualCopy(build("residual add"), batch_norm=batch_norm).train()
    before = statistics(dual.structural)
    dual(images)
    dual.gates(images)
    assert all(same_bits(before[name], tensor) for name, tensor in statistics(dual.structural).items())


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
@pytest.mark.parametrize("name", ["CIFAR ResNet-8", "torchvision ResNet-18", "linear layers"])
def test_the_count_of_batches_never_travels(name: str, batch_norm: str) -> None:
    state = DualCopy(build(name), batch_norm=batch_norm).quantitative_state()
    assert not any("num_batches_tracked" in key for key in state)
    assert all(tensor.is_floating_point() for tensor in state.values())


@MODELS
def test_an_unknown_policy_is_refused_by_name(model_class: type) -> None:
    with pytest.raises(ValueError, match=r"batch_norm='local': allowed are batch, frozen"):
        model_class(build("residual add"), batch_norm="local")


@MODELS
def test_frozen_reaches_every_kind_of_batch_norm(model_class: type) -> None:
    network = nn.Sequential(
        nn.BatchNorm1d(4), nn.BatchNorm2d(4), nn.BatchNorm3d(4), nn.SyncBatchNorm(4), nn.Dropout(), nn.Linear(4, 2)
    )
    model = model_class(network, batch_norm="frozen").train()
    assert [module.training for module in model.quantitative] == [False, False, False, False, True, True]


def test_a_batch_norm_without_running_statistics_is_refused_since_its_gates_depend_on_the_batch() -> None:
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    ).eval()
    with pytest.raises(ValueError, match="'1'"):
        DualCopy(network)

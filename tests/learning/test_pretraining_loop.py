"""Pretraining on a source domain: repeatable, and by the recipe that its settings name."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.learning import PretrainingSettings, evaluate, pretrain

SETTINGS = PretrainingSettings(epochs=3, batch_size=6, learning_rate=0.1, seed=0)


def pretrained(network: nn.Module, images: Tensor, labels: Tensor, settings: PretrainingSettings = SETTINGS) -> bytes:
    network = copy.deepcopy(network)
    pretrain(network, images, labels, settings)
    return b"".join(tensor.numpy().tobytes() for tensor in network.state_dict().values())


def test_the_network_learns_in_place_and_is_left_in_evaluation_mode(network, images, labels) -> None:
    before = evaluate(network, images, labels).loss
    pretrain(network, images, labels, SETTINGS)
    assert evaluate(network, images, labels).loss < 0.9 * before
    assert not any(module.training for module in network.modules())


def test_progress_is_told_every_epochs_number_and_mean_loss(network, images, labels) -> None:
    told: list[tuple[int, float]] = []
    pretrain(network, images, labels, SETTINGS, lambda epoch, loss: told.append((epoch, loss)))
    assert [epoch for epoch, _ in told] == [1, 2, 3]
    assert told[0][1] > told[-1][1] > 0


def test_the_same_settings_give_the_same_bits_and_another_seed_gives_others(network, images, labels) -> None:
    network[4].p = 0.0
    first = pretrained(network, images, labels)
    assert first == pretrained(network, images, labels)
    other = PretrainingSettings(epochs=3, batch_size=6, learning_rate=0.1, seed=1)
    assert first != pretrained(network, images, labels, other)


def test_with_dropout_the_result_still_depends_on_the_settings_only(network, images, labels) -> None:
    torch.manual_seed(1)
    first = pretrained(network, images, labels)
    torch.manual_seed(2)
    assert first == pretrained(network, images, labels)


def test_the_global_generator_is_left_as_it_was(network, images, labels) -> None:
    before = torch.get_rng_state()
    pretrain(network, images, labels, SETTINGS)
    assert torch.equal(before, torch.get_rng_state())


def test_pretraining_on_the_cpu_reseeds_no_gpu(network, images, labels, monkeypatch) -> None:
    def seeded(_seed: int) -> None:
        raise AssertionError("a GPU's generator was reseeded, and nothing restores it")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    pretrain(network, images, labels, SETTINGS)


@pytest.mark.parametrize("count", [1, 6, 7, 21])
def test_any_number_of_samples_will_do(network, images, labels, count: int) -> None:
    one_epoch = PretrainingSettings(epochs=1, batch_size=6, learning_rate=0.1, seed=0)
    pretrain(network, images[:count], labels[:count], one_epoch)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())


def test_the_optimiser_is_the_one_described(network, images, labels, monkeypatch) -> None:
    groups: list[dict[str, object]] = []
    step = torch.optim.SGD.step

    def spied(self: torch.optim.SGD, *rest: object) -> object:
        groups.append({key: value for key, value in self.param_groups[0].items() if key != "params"})
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.SGD, "step", spied)
    pretrain(network, images, labels, PretrainingSettings(epochs=4, batch_size=2, learning_rate=0.1, seed=0))

    rates = [group["lr"] for group in groups]
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[0] < 0.1 > rates[-1]
    assert {group["weight_decay"] for group in groups} == {5e-4}
    assert {group["nesterov"] for group in groups} == {True}
    assert {group["momentum"] for group in groups} == {0.9}

"""Local training: one loop, repeatable to the bit, whose proximal term is the one written by hand."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings, derive_seed, evaluate, train_locally
from fedsq_flwr.learning.batches import batch_count, shuffled_batches
from fedsq_flwr.learning.sgd import SGD

SETTINGS = TrainingSettings(epochs=2, batch_size=6, learning_rate=0.1)
MODELS = pytest.mark.parametrize("model_class", [DualCopy, QuantitativeCopy])


def bits(model: QuantitativeCopy) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.quantitative_state().values())


def trained(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    model_class: type = DualCopy,
    settings: TrainingSettings = SETTINGS,
    seed: int = 0,
    mu: float = 0.0,
) -> QuantitativeCopy:
    model = model_class(network)
    train_locally(model, images, labels, settings, seed=seed, mu=mu)
    return model


@MODELS
def test_the_same_seed_gives_the_same_numbers_to_the_bit(network, images, labels, model_class) -> None:
    torch.manual_seed(1)
    first = trained(network, images, labels, model_class=model_class)
    torch.manual_seed(2)
    again = trained(network, images, labels, model_class=model_class)
    other = trained(network, images, labels, model_class=model_class, seed=1)
    assert bits(first) == bits(again)
    assert bits(first) != bits(other)


def test_the_seed_orders_the_samples_and_seeds_dropout(network, images, labels) -> None:
    network[4].p = 0.0
    by_order = [trained(network, images, labels, seed=seed) for seed in (0, 1)]
    assert bits(by_order[0]) != bits(by_order[1])
    network[4].p = 0.3
    whole = replace(SETTINGS, batch_size=len(labels), momentum=0.0)
    by_dropout = [trained(network, images, labels, settings=whole, seed=seed) for seed in (0, 1)]
    difference = [
        (a - b).abs().max()
        for a, b in zip(*(model.quantitative_state().values() for model in by_dropout), strict=True)
    ]
    assert max(difference) > 1e-3  # far more than another order of summing up one batch


def test_global_random_states_are_left_as_they_were(network, images, labels) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    trained(network, images, labels)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())


def test_training_on_the_cpu_reseeds_no_gpu(network, images, labels, monkeypatch) -> None:
    def seeded(_seed: int) -> None:
        raise AssertionError("a GPU's generator was reseeded, and nothing restores it")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    trained(network, images, labels)


def by_hand(model: QuantitativeCopy, images: Tensor, labels: Tensor, mu: float) -> None:
    """SGD on the loss with FedProx's term written out, ``mu / 2 * |w - w_start|^2``."""
    parameters = list(model.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    order = torch.Generator().manual_seed(derive_seed(0, "order"))
    model.train()
    for _ in range(SETTINGS.epochs):
        for batch in shuffled_batches(len(labels), SETTINGS.batch_size, order):
            distance = sum(((p - s) ** 2).sum() for p, s in zip(parameters, start, strict=True))
            loss = F.cross_entropy(model(images[batch]), labels[batch]) + mu / 2 * distance
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, v, gradient in zip(parameters, velocity, gradients, strict=True):
                    v.mul_(SETTINGS.momentum).add_(gradient)
                    parameter.sub_(SETTINGS.learning_rate * v)


@MODELS
@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0])
def test_the_proximal_gradient_is_mu_times_the_way_from_the_start(network, images, labels, model_class, mu) -> None:
    network[4].p = 0.0
    expected = model_class(network)
    by_hand(expected, images, labels, mu)
    model = trained(network, images, labels, model_class=model_class, mu=mu)
    for name, tensor in expected.quantitative_state().items():
        torch.testing.assert_close(model.quantitative_state()[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_proximal_term_holds_the_weights_back(network, images, labels) -> None:
    def way(mu: float) -> float:
        model = trained(network, images, labels, mu=mu)
        pairs = zip(model.parameters(), network.parameters(), strict=True)
        return sum(((a - b) ** 2).sum().item() for a, b in pairs)

    assert way(0.0) > way(0.5) > way(2.0)


def test_mu_of_zero_is_no_term_at_all(network, images, labels) -> None:
    assert bits(trained(network, images, labels, mu=0.0)) == bits(trained(network, images, labels))
    assert bits(trained(network, images, labels, mu=1e-3)) != bits(trained(network, images, labels))


@pytest.mark.parametrize("mu", [0.0, 5.0])
def test_the_loss_reported_is_the_mean_cross_entropy_without_the_proximal_term(images, labels, mu) -> None:
    torch.manual_seed(0)
    model = QuantitativeCopy(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    with torch.no_grad():
        expected = F.cross_entropy(model(images), labels).item()
    result = train_locally(model, images, labels, replace(SETTINGS, learning_rate=1e-12), seed=0, mu=mu)
    assert result.loss == pytest.approx(expected, rel=1e-5)
    assert result.examples == len(labels)
    assert result.seconds > 0


def test_training_lowers_the_loss(network, images, labels) -> None:
    before = evaluate(DualCopy(network), images, labels).loss
    model = trained(network, images, labels, settings=replace(SETTINGS, epochs=8))
    assert evaluate(model, images, labels).loss < 0.7 * before


def test_every_round_starts_without_the_momentum_of_the_last(network, images, labels) -> None:
    model = DualCopy(network)
    start = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    results = []
    for _ in range(2):
        model.load_quantitative_state(start)
        train_locally(model, images, labels, SETTINGS, seed=0)
        results.append(bits(model))
    assert results[0] == results[1]


def test_the_structural_copy_and_its_gates_do_not_move(network, images, labels) -> None:
    model = DualCopy(network)
    fingerprint, gates = model.fingerprint, model.gates(images)
    train_locally(model, images, labels, SETTINGS, seed=0)
    assert model.fingerprint == fingerprint
    assert all(torch.equal(a, b) for a, b in zip(gates.masks(), model.gates(images).masks(), strict=True))


@MODELS
def test_parameters_that_do_not_learn_stay(network, images, labels, model_class) -> None:
    network[0].weight.requires_grad_(False)
    model = trained(network, images, labels, model_class=model_class, mu=0.1)
    assert torch.equal(model.quantitative[0].weight, network[0].weight)
    assert not torch.equal(model.quantitative[6].weight, network[6].weight)


@pytest.mark.parametrize(
    "change", [{"momentum": 0.0}, {"weight_decay": 0.1}, {"learning_rate": 0.05}, {"epochs": 1}, {"batch_size": 7}]
)
def test_every_setting_has_an_effect(network, images, labels, change) -> None:
    changed = trained(network, images, labels, settings=replace(SETTINGS, **change))
    assert bits(changed) != bits(trained(network, images, labels))


def first_steps(network: nn.Module, images: Tensor, labels: Tensor, steps: int) -> tuple[bytes, float]:
    """Train for so many steps of the loop as it was with whole epochs; return the bits and the mean loss."""
    model = DualCopy(network)
    optimizer = SGD(list(model.parameters()), SETTINGS.learning_rate, SETTINGS.momentum)
    order = torch.Generator().manual_seed(derive_seed(0, "order"))
    batches = [batch for _ in range(4) for batch in shuffled_batches(len(labels), SETTINGS.batch_size, order)][:steps]
    model.train()
    total, seen = 0.0, 0
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(0, "dropout"))
        for batch in batches:
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, seen = total + loss.item() * len(batch), seen + len(batch)
    return bits(model), total / seen


@pytest.mark.parametrize(
    ("change", "steps"),
    [  # 21 images: 4 batches an epoch
        ({"epochs": 1}, 4),
        ({"epochs": 2}, 8),
        ({"epochs": 0.01}, 1),
        ({"epochs": 0.25}, 1),
        ({"epochs": 0.26}, 2),
        ({"epochs": 1.5}, 6),
        ({"epochs": 2.99}, 12),
        ({"steps": 1}, 1),
        ({"steps": 5, "epochs": 0}, 5),
        ({"steps": 13, "epochs": 0}, 13),
    ],
)
def test_a_part_of_an_epoch_is_its_first_steps(network, images, labels, change, steps) -> None:
    model = DualCopy(network)
    result = train_locally(model, images, labels, replace(SETTINGS, **change), seed=0)
    expected, loss = first_steps(network, images, labels, steps)
    assert bits(model) == expected
    assert (result.loss, result.examples) == (pytest.approx(loss), len(labels))


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 12, 13, 14, 700])
def test_an_epoch_has_as_many_steps_as_batches(count) -> None:
    batches = list(shuffled_batches(count, 6, torch.Generator()))
    assert batch_count(count, 6) == len(batches) == replace(SETTINGS, epochs=1.0).steps_of(len(batches))


def test_a_fraction_is_taken_as_it_is_written() -> None:
    assert replace(SETTINGS, epochs=0.07).steps_of(100) == 7  # 0.07 * 100 is above 7


def test_weight_decay_shrinks_the_weights(network, images, labels) -> None:
    def size(decay: float) -> float:
        model = trained(network, images, labels, settings=replace(SETTINGS, weight_decay=decay))
        return sum((p**2).sum().item() for p in model.parameters())

    assert size(0.5) < size(0.0)


def test_the_model_is_left_in_training_mode_within_the_batch_norm_policy(network, images, labels) -> None:
    model = DualCopy(network, batch_norm="frozen")
    before = model.quantitative[1].running_mean.clone()
    train_locally(model, images, labels, SETTINGS, seed=0)
    assert not model.quantitative[1].training
    assert torch.equal(model.quantitative[1].running_mean, before)


@pytest.mark.parametrize("count", [1, 2, 7, 13])
def test_silos_of_any_size_learn(network, images, labels, count) -> None:
    model = DualCopy(network)
    result = train_locally(model, images[:count], labels[:count], SETTINGS, seed=0)
    assert result.examples == count
    assert all(tensor.isfinite().all() for tensor in model.quantitative_state().values())


@MODELS
def test_bfloat16_learns_with_float32_weights(network, images, labels, model_class) -> None:
    exact = trained(network, images, labels, model_class=model_class)
    half = trained(network, images, labels, model_class=model_class, settings=replace(SETTINGS, precision="bfloat16"))
    assert all(tensor.dtype == torch.float32 for tensor in half.quantitative_state().values())
    assert bits(half) != bits(exact)
    assert evaluate(half, images, labels).loss == pytest.approx(evaluate(exact, images, labels).loss, rel=0.25)

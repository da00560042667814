"""Private training: each sample's own gradient, a bound on what a sample can do, and noise as is said."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy, bind
from fedsq_flwr.learning import TrainingSettings, private_training
from fedsq_flwr.learning.per_sample import per_sample_gradients
from fedsq_flwr.learning.private_training import (
    Noise,
    add_clipped,
    privatise_update,
    sampling_of,
    train_privately,
)
from fedsq_flwr.learning.randomness import SeededRandomness, SystemRandomness, normal

STEP = TrainingSettings(epochs=1, batch_size=21, learning_rate=0.1, momentum=0.0)


class Odd(nn.Module):
    """Activations of two and three regimes, in place and not, one with a slope that learns, and a max-pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.slope, self.fc = nn.Conv2d(6, 6, 3, padding=1), nn.PReLU(6), nn.Linear(96, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.norm(self.first(x)), inplace=True)
        x = x + F.relu_(self.second(x))
        return self.fc(F.max_pool2d(F.hardtanh(self.slope(x), -0.5, 0.5), 2).flatten(1))


def without_dropout(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def noise(clip: float = 1e6, multiplier: float = 0.0, seed: int = 0) -> Noise:
    return Noise(clip, multiplier, SeededRandomness(seed))


def model_of(kind: str, network: nn.Module) -> QuantitativeCopy:
    network = without_dropout(network)
    return (QuantitativeCopy if kind == "plain" else DualCopy)(network, batch_norm="frozen").train()


@pytest.mark.parametrize("kind", ["plain", "fresh", "cached"])
@pytest.mark.parametrize("odd", [False, True], ids=["usual", "odd"])
def test_each_samples_gradient_is_that_of_the_sample_alone(
    odd: bool, kind: str, network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model = model_of(kind, Odd() if odd else network)
    with torch.no_grad():
        for parameter in model.parameters():  # away from the structural copy
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    gates = model.gates(images) if kind == "cached" else None
    gradients, losses = per_sample_gradients(model, images, labels, gates)
    alone = [] if kind == "plain" else [model.gates(images)]
    for sample in (0, 7, 20):
        place = slice(sample, sample + 1)
        loss = F.cross_entropy(model(images[place], *(gate[place] for gate in alone)), labels[place])
        model.zero_grad()
        loss.backward()
        assert torch.allclose(losses[sample], loss, atol=1e-6)
        for name, parameter in model.quantitative.named_parameters():
            assert torch.allclose(gradients[name][sample], parameter.grad, rtol=1e-5, atol=1e-6), name


def test_gates_of_few_samples_do_not_depend_on_who_else_is_in_the_batch(
    network: nn.Module, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches below eight, other kernels may flip bits of a gate."""
    model, sizes = model_of("fresh", network), []
    calls = model.calls
    monkeypatch.setattr(model, "calls", lambda images: (sizes.append(len(images)), calls(images))[1])
    few, _ = per_sample_gradients(model, images[:3], labels[:3])
    many, _ = per_sample_gradients(model, images, labels)
    assert sizes == [8, 21]
    assert all(torch.allclose(few[name], many[name][:3], atol=1e-6) for name in few)


@pytest.mark.parametrize("kind", ["plain", "fresh", "cached"])
def test_without_noise_a_step_is_that_of_sgd_on_the_mean_gradient(
    kind: str, network: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, by_hand = model_of(kind, network), model_of(kind, network)
    gates = bind(GateCache(), model, images) if kind == "cached" else None
    result = train_privately(model, images, labels, STEP, noise(), gates=gates)
    loss = F.cross_entropy(by_hand(images), labels)
    loss.backward()
    assert result.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    for own, expected in zip(model.parameters(), by_hand.parameters(), strict=True):
        assert torch.allclose(own, expected - 0.1 * expected.grad, atol=1e-6)


def test_only_what_learns_is_moved_and_noised(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    model = model_of("fresh", network)
    model.learn_head_only()
    before = {name: tensor.clone() for name, tensor in model.quantitative_state().items()}
    train_privately(model, images, labels, STEP, noise(1.0, 1.0))
    moved = {name for name, tensor in model.quantitative_state().items() if not torch.equal(tensor, before[name])}
    assert moved == set(model.head_state())


@pytest.mark.parametrize("policy", ["batch", "local"])
def test_statistics_of_a_batch_are_refused(policy: str, network: nn.Module, images: Tensor, labels: Tensor) -> None:
    model = QuantitativeCopy(network, batch_norm=policy)
    with pytest.raises(ValueError, match=f"batch_norm={policy}: must be frozen"):
        train_privately(model, images, labels, STEP, noise())


def test_half_precision_is_refused(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="precision=bfloat16: must be float32"):
        train_privately(model_of("plain", network), images, labels, replace(STEP, precision="bfloat16"), noise())


@pytest.mark.parametrize("bad", [1.0, 1e3, 1e25, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("clip", [1e-3, 1.0])
def test_a_sample_changes_the_sum_by_no_more_than_the_clip(clip: float, bad: float) -> None:
    gradients = {"a": torch.randn(5, 3, 2), "b": torch.randn(5, 4)}
    gradients["a"][2, 1, 1] = bad
    gradients["b"][2] = bad
    sums = [{"a": torch.zeros(3, 2), "b": torch.zeros(4)} for _ in range(2)]
    add_clipped(sums[0], gradients, clip)
    add_clipped(sums[1], {name: each[[0, 1, 3, 4]] for name, each in gradients.items()}, clip)
    change = torch.cat([(sums[0][name] - sums[1][name]).flatten() for name in gradients])
    assert change.isfinite().all()
    assert float(change.double().norm()) <= clip * (1 + 1e-5)


@pytest.mark.parametrize("bad", [1.0, 1e25, math.inf, math.nan])
def test_a_whole_update_is_bounded_and_noised(bad: float) -> None:
    start = {"a": torch.randn(50_000), "rests": torch.randn(7)}
    trained = {"a": start["a"] + bad, "rests": start["rests"] + bad}
    told = privatise_update(start, trained, {"a"}, noise(3.0, 0.5))
    assert torch.equal(told["rests"], start["rests"])
    step = told["a"] - start["a"]
    assert float(step.std()) == pytest.approx(1.5, rel=0.02)
    plain = privatise_update(start, trained, {"a"}, noise(3.0, 0.0))
    assert float((plain["a"] - start["a"]).norm()) <= 3.0 * (1 + 1e-3)


def test_noise_and_batches_are_of_the_size_that_is_said(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Without samples in a batch, a step is noise alone: of multiplier * clip / batch_size on each value."""
    model, start = model_of("plain", network), model_of("plain", network)
    train_privately(model, images, labels, STEP, Noise(1e-9, 2e9, SystemRandomness()))
    moved = torch.cat(
        [(a - b).detach().flatten() for a, b in zip(model.parameters(), start.parameters(), strict=True)]
    )
    assert float(moved.std()) == pytest.approx(0.1 * 2.0 / 21, rel=0.2)
    assert sampling_of(100, TrainingSettings(3, 32, 0.1)) == (0.32, 12)
    assert sampling_of(5, TrainingSettings(3, 32, 0.1)) == (1.0, 3)


@pytest.mark.parametrize("randomness", [SystemRandomness(), SeededRandomness(1)], ids=["system", "seeded"])
def test_draws_are_uniform_and_normal(randomness: SystemRandomness | SeededRandomness) -> None:
    drawn = randomness.uniform(100_000)
    assert 0 <= float(drawn.min()) < 1e-3
    assert 1 - 1e-3 < float(drawn.max()) < 1
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.01)
    bell = normal(randomness, 100_001)
    assert len(bell) == 100_001
    assert float(bell.mean()) == pytest.approx(0, abs=0.02)
    assert float(bell.std()) == pytest.approx(1, abs=0.02)
    assert float((bell.abs() > 1.959964).double().mean()) == pytest.approx(0.05, abs=0.005)
    assert len(normal(randomness, 0)) == 0


@pytest.mark.parametrize("kind", ["plain", "fresh", "cached"])
def test_one_sample_more_leaves_the_gradients_of_others_as_they_are_to_the_bit(
    kind: str, network: nn.Module, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels round otherwise in another number of samples, of which a server's weights may make much."""
    model = model_of(kind, network)
    cache = GateCache() if kind == "cached" else None
    found: dict[int, Tensor] = {}
    told: list[dict[str, Tensor]] = []
    monkeypatch.setattr(private_training, "add_clipped", lambda _, gradients, clip: told.append(dict(gradients)))
    settings = replace(STEP, batch_size=1_000, learning_rate=0.0)  # each step takes all
    for count in (1, 2, 3, 5, 15, 16, 17, 21):
        told.clear()
        gates = None if cache is None else bind(cache, model, images[:count])
        train_privately(
            model, images[:count], labels[:count], replace(settings, learning_rate=0.0), noise(), gates=gates
        )
        assert sum(len(next(iter(gradients.values()))) for gradients in told) == count
        found[count] = torch.cat([gradient[:1].flatten() for gradient in told[0].values()])
    assert all(torch.equal(found[1], other) for other in found.values())


def test_no_seed_of_the_run_fixes_the_systems_noise(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    def trained(randomness: SystemRandomness | SeededRandomness) -> Tensor:
        model = model_of("plain", network)
        torch.manual_seed(0)
        train_privately(model, images, labels, STEP, Noise(1.0, 1.0, randomness))
        return next(model.parameters()).detach().clone()

    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(trained(SystemRandomness()), trained(SystemRandomness()))
        assert torch.equal(trained(SeededRandomness(5)), trained(SeededRandomness(5)))

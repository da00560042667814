"""A silo with privacy: what it is asked is charged first, and no more than its terms say is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsq_flwr.errors import PrivacyError
from fedsq_flwr.federation.silo import EvaluateReply, RoundOrders, Silo, TrainReply
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.checkpointing import TrainingCheckpoint
from fedsq_flwr.learning.randomness import SeededRandomness
from fedsq_flwr.learning.sgd import SGD
from fedsq_flwr.privacy.accounting import Mechanism, epsilon_of
from fedsq_flwr.privacy.guard import PrivacyGuard, PrivacyTerms
from fedsq_flwr.privacy.ledger import Ledger

pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")

TERMS = PrivacyTerms(unit="record", clip=1.0, noise_multiplier=2.0, delta=1e-5, max_epsilon=50.0, min_samples=5)
SETTINGS = TrainingSettings(epochs=2, batch_size=8, learning_rate=0.1)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()


def samples(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 6, 6, generator=generator), torch.randint(3, (count,), generator=generator)


def silo(terms: PrivacyTerms = TERMS, ledger: Ledger | None = None, **changes: Any) -> Silo:
    given = {"batch_norm": "frozen", "settings": SETTINGS, "samples": 20, "kind": DualCopy, "seed": 3} | changes
    guard = PrivacyGuard(terms, ledger or Ledger(), SeededRandomness(given["seed"]))
    model = given["kind"](network(), batch_norm=given["batch_norm"])
    parts = {"train": samples(given["samples"]), "held_out": samples(10)}
    return Silo(model, **parts, settings=given["settings"], number=0, seed=0, privacy=guard)


def train(one: Silo, **orders: Any) -> TrainReply:
    start = {name: tensor.clone() for name, tensor in one.model.quantitative_state().items()}
    return one.train(start, RoundOrders(1, one.model.fingerprint, **orders))


@pytest.mark.parametrize("kind", [DualCopy, QuantitativeCopy])
@pytest.mark.parametrize(
    ("unit", "mechanism", "count"),
    [("record", Mechanism(2.0, 8 / 20), 6), ("silo", Mechanism(1.0), 1)],
)
def test_each_round_is_charged_and_noised(unit: Any, mechanism: Mechanism, count: int, kind: type) -> None:
    ledger = Ledger()
    one = silo(replace(TERMS, unit=unit), ledger, kind=kind)
    first = train(one)
    assert ledger.read().spent.epsilon == epsilon_of({mechanism: count}, 1e-5)
    train(one)  # the same round again counts again
    assert ledger.read().spent.epsilon == epsilon_of({mechanism: 2 * count}, 1e-5)
    again = train(silo(replace(TERMS, unit=unit), kind=kind, seed=4))
    assert (first.examples, first.loss, first.seconds) == (5, 0.0, 0.0)
    assert not any(torch.equal(tensor, again.state[name]) for name, tensor in first.state.items())


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({"epochs": 0.1}, 1),
        ({"epochs": 1.4}, 5),
        ({"epochs": 0, "steps": 4}, 4),
        ({"epochs": 2, "batch_size": 64}, 2),
    ],
)
def test_every_step_that_is_taken_is_counted(
    change: dict[str, Any], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, step = [], SGD.step
    monkeypatch.setattr(SGD, "step", lambda self: (taken.append(1), step(self)))
    ledger = Ledger()
    train(silo(ledger=ledger, settings=replace(SETTINGS, **change)))
    (charge,) = ledger.read().charges
    assert charge.count == len(taken) == steps


def test_a_whole_update_has_the_noise_that_is_said() -> None:
    one = silo(replace(TERMS, unit="silo", clip=0.5, noise_multiplier=4.0), kind=QuantitativeCopy)
    start = {name: tensor.clone() for name, tensor in one.model.quantitative_state().items()}
    moved = torch.cat([(tensor - start[name]).flatten() for name, tensor in train(one).state.items()])
    assert float(moved.std()) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("unit", ["record", "silo"])
def test_at_the_limit_nothing_is_trained(unit: Any) -> None:
    one = silo(replace(TERMS, unit=unit, max_epsilon=0.01))
    start = {name: tensor.clone() for name, tensor in one.model.quantitative_state().items()}
    with pytest.raises(PrivacyError, match=r"privacy\.max_epsilon=0\.01: would be exceeded"):
        train(one)
    assert all(torch.equal(tensor, start[name]) for name, tensor in one.model.quantitative_state().items())


def test_a_training_that_fails_has_been_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    monkeypatch.setattr("fedsq_flwr.privacy.guard.train_privately", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(silo(ledger=ledger))
    assert ledger.read().spent is not None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_norm": "batch"}, "batch_norm=batch: must be frozen at this silo, which has privacy.unit=record"),
        ({"batch_norm": "local"}, "batch_norm=local: must be frozen"),
        ({"settings": replace(SETTINGS, precision="bfloat16")}, "executor.precision=bfloat16: must be float32"),
        ({"samples": 4}, "privacy.min_samples=5: this silo has fewer"),
    ],
)
def test_what_cannot_be_private_is_refused_by_name(changes: dict[str, Any], told: str) -> None:
    ledger = Ledger()
    with pytest.raises(PrivacyError, match=told):
        train(silo(ledger=ledger, **changes))
    assert ledger.read().spent is None


def evaluate(one: Silo) -> EvaluateReply:
    return one.evaluate(one.model.quantitative_state(), RoundOrders(0, one.model.fingerprint))


def test_measures_do_not_leave_unless_they_are_let() -> None:
    assert evaluate(silo()) == EvaluateReply(0.0, 0.0, 0)


def test_rounded_measures() -> None:
    one = silo(replace(TERMS, measures="rounded"), samples=23)
    assert train(one).examples == 20
    told = evaluate(one)
    assert told.examples == 10
    assert (round(told.loss, 1), round(told.accuracy * 20)) == (told.loss, pytest.approx(told.accuracy * 20))


def test_noised_measures_are_charged_and_a_number_is_drawn_once() -> None:
    ledger = Ledger()
    one = silo(replace(TERMS, measures="noised", measures_noise=3.0), ledger, samples=23)
    first = train(one)
    numbers = [(each.what, each.exact) for each in ledger.read().noised]
    assert (first.examples, numbers) == (ledger.read().noised[0].told, [("train", 23)])
    assert (first.loss, first.seconds) == (0.0, 0.0)
    told = [evaluate(one) for _ in range(3)]
    assert len({each.examples for each in told}) == 1
    assert len({each.accuracy for each in told}) > 1
    assert all(0 <= each.accuracy <= 1 and each.loss == 1 - each.accuracy for each in told)
    counts = {Mechanism(each.multiplier, each.sampling): each.count for each in ledger.read().charges}
    assert counts[Mechanism(3.0)] == 1 + 1 + 3  # two numbers of samples, three accuracies


def test_a_private_silo_keeps_no_training_and_is_charged_again(tmp_path: Path) -> None:
    ledger, path = Ledger(), tmp_path / "silo-0.pt"
    for _ in range(2):
        one = silo(ledger=ledger)
        one.checkpoint = TrainingCheckpoint(path, 0.0)
        train(one)
        assert not path.exists()
    (charge,) = ledger.read().charges
    assert charge.count == 2 * 6


def test_a_hostile_proximal_term_changes_nothing_about_the_noise() -> None:
    one = silo(kind=QuantitativeCopy)
    plain, hostile = train(one), train(silo(kind=QuantitativeCopy), proximal_mu=1e30)
    assert not any(torch.equal(tensor, hostile.state[name]) for name, tensor in plain.state.items())


def test_a_delta_that_would_let_single_images_leave_is_refused(tmp_path: Path) -> None:
    """With delta = 1/n, a mechanism that publishes one image of n has epsilon 0."""
    terms = PrivacyTerms(unit="record", clip=1.0, noise_multiplier=1.0, delta=0.01, max_epsilon=8.0)
    guard = PrivacyGuard(terms, Ledger(tmp_path))
    guard.check("frozen", "float32", examples=99)
    with pytest.raises(PrivacyError, match=r"^privacy\.delta=0\.01: must be below one over the number of images"):
        guard.check("frozen", "float32", examples=100)

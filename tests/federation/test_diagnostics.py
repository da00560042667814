"""What a round's examiner is given and makes of it."""

import pytest
import torch
from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict
from torch import Tensor, nn

from fedsq_flwr.federation.diagnostics import Examiner
from fedsq_flwr.federation.rounds import run_rounds
from fedsq_flwr.federation.strategy import FedSQ
from fedsq_flwr.gating import DualCopy, QuantitativeCopy, averaging_gap, fixed_gates, gate_flips
from fedsq_flwr.learning import Evaluation
from tests.federation.toys import FINGERPRINT, toy_app

IMAGES = torch.randn(16, 4, generator=torch.Generator().manual_seed(5))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()


def shifted(model: QuantitativeCopy, by: float) -> dict[str, Tensor]:
    return {name: tensor + by for name, tensor in model.quantitative_state().items()}


def record(state: dict[str, Tensor]) -> ArrayRecord:
    return ArrayRecord({name: Array(tensor.numpy()) for name, tensor in state.items()})


def reply(state: dict[str, Tensor], weight: int) -> RecordDict:
    return RecordDict({"arrays": record(state), "metrics": MetricRecord({"num-examples": weight})})


@pytest.mark.parametrize("kind", [DualCopy, QuantitativeCopy])
def test_a_round_is_diagnosed_from_its_replies(kind) -> None:
    model, other = kind(network()), kind(network())
    start = record(model.quantitative_state())
    fixed = fixed_gates(model, IMAGES)
    examiner = Examiner(model, IMAGES)
    model.load_quantitative_state(shifted(model, -0.7))  # a resumed run's state does not move what is compared with
    states = [(1, shifted(other, 0.3)), (3, shifted(other, -0.1))]
    averaged = shifted(other, 0.0)
    found = examiner.examine(start, record(averaged), [reply(state, weight) for weight, state in states])
    assert found.images == 16
    other.load_quantitative_state(averaged)
    assert found.layers == gate_flips(other, IMAGES, fixed)
    assert found.flip_rate == 0  # the average is the start
    assert found.averaging == averaging_gap(other, states, IMAGES)
    # 4 * 8 + 8 + 8 + 8 + 8 * 3 + 3 weights and biases, each moved alike; running statistics do not count.
    assert found.drift.mean == pytest.approx((1 * 0.3 + 3 * 0.1) / 4 * 83**0.5, rel=1e-4)
    assert found.drift.of_mean == pytest.approx(0, abs=1e-4)
    assert torch.equal(model.quantitative_state()["0.weight"], averaged["0.weight"])


def test_a_round_hands_over_the_replies_that_were_averaged(make_grid, arrays) -> None:
    def spoil(silo: int, content: RecordDict) -> None:
        if silo == 2 and content.array_records:
            content["arrays"] = ArrayRecord()

    seen, rounds = [], []
    strategy = FedSQ(fingerprint=FINGERPRINT)
    evaluated = Evaluation(0.0, 1.0, 1)
    for finished in run_rounds(
        strategy,
        make_grid(toy_app(spoil)),
        arrays,
        first=1,
        last=2,
        timeout=10,
        enter=lambda _: None,
        evaluate=lambda _: {"validation": evaluated, "test": evaluated},
        keep_replies=True,
    ):
        assert [len(earlier.replies) for earlier in rounds] == [0] * len(rounds)  # not held beside these
        seen.append((finished.start, finished.arrays, list(finished.replies)))
        rounds.append(finished)
    assert [finished.fingerprint for finished in rounds] == [FINGERPRINT] * 2
    (start, averaged, replies), (next_start, *_) = seen
    assert start is arrays
    assert next_start is averaged
    weights = [content["metrics"]["num-examples"] for content in replies]
    assert weights == [1, 2, 4]  # silos 0, 1 and 3, in order


def test_rounds_are_not_diagnosed_unless_asked_for(make_grid, arrays) -> None:
    evaluated = Evaluation(0.0, 1.0, 1)
    strategy = FedSQ(fingerprint=FINGERPRINT)
    (finished,) = run_rounds(
        strategy, make_grid(toy_app()), arrays, first=1, last=1, timeout=10, enter=lambda _: None,
        evaluate=lambda _: {"validation": evaluated, "test": evaluated},
    )  # fmt: skip
    assert finished.diagnostics is None

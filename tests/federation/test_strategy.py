import random

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian, FedProx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.rounds import MEASURED, run_rounds
from fedsq_flwr.records.lines import line_of
from tests.federation.toys import FINGERPRINT, toy_app


def fedsq(silos=4, inner=FedAvg, **options):
    minimums = {"min_train_nodes": 1, "min_evaluate_nodes": 1, "min_available_nodes": silos}
    fraction = options.pop("fraction", 1.0)
    inner_options = options.pop("inner_options", {})
    return FedSQ(
        inner(fraction_train=fraction, **minimums, **inner_options),
        **{"fingerprint": FINGERPRINT, "seed": 0, **options},
    )


def train_round(strategy, grid, arrays, server_round=1):
    messages = list(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
    return strategy.aggregate_train(server_round, grid.send_and_receive(messages))


def test_the_average_is_the_mean_weighted_by_examples(make_grid, arrays):
    averaged, metrics = train_round(fedsq(), make_grid(toy_app()), arrays)
    mean = (0 * 1 + 1 * 2 + 2 * 3 + 3 * 4) / 10  # silo k adds k and has k + 1 examples
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), mean, np.float32), rtol=1e-6)
    np.testing.assert_allclose(averaged["b"].numpy(), np.full(3, 1 + mean, np.float32), rtol=1e-6)
    assert averaged["w"].numpy().dtype == np.float32
    assert metrics["train_loss"] == pytest.approx(mean)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=4, max_size=4),
    weights=st.lists(st.integers(1, 1000), min_size=4, max_size=4),
)
def test_the_average_equals_a_hand_made_mean(make_grid, arrays, values, weights):
    def spoil(silo, content):
        content["metrics"]["num-examples"] = weights[silo]
        content["arrays"]["b"] = Array(np.full(3, values[silo], np.float32))

    averaged, _ = train_round(fedsq(), make_grid(toy_app(spoil)), arrays)
    by_hand = np.average(np.float64(values), weights=weights)
    np.testing.assert_allclose(averaged["b"].numpy(), np.full(3, by_hand), rtol=1e-4, atol=1e-3)


def test_the_order_of_arrival_changes_no_bit(make_grid, arrays):
    noise = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    def spoil(silo, content):
        content["arrays"]["b"] = Array(noise[silo])

    grid = make_grid(toy_app(spoil), silos=8)
    results = []
    for order in (lambda replies: replies, lambda replies: replies[::-1], lambda replies: replies[3:] + replies[:3]):
        strategy = fedsq(8)
        replies = grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid))
        averaged, _ = strategy.aggregate_train(1, order(list(replies)))
        results.append(averaged["b"].numpy().tobytes())
    assert len(set(results)) == 1


def test_sampling_is_seeded_and_differs_from_round_to_round(make_grid, arrays):
    grid = make_grid(toy_app(), silos=10)

    def samples(seed, rounds=range(1, 6)):
        strategy, chosen = fedsq(10, fraction=0.3, seed=seed), []
        for server_round in rounds:
            random.seed()  # what the program around does with the global generator must not matter
            list(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
            chosen.append(tuple(strategy.training.sampled))
        return chosen

    assert samples(0) == samples(0)
    assert samples(0) != samples(1)
    assert len(set(samples(0))) > 1
    assert samples(0, range(3, 6)) == samples(0)[2:]  # a resumed run samples as an uninterrupted one
    assert all(len(chosen) == 3 for chosen in samples(0))


def test_the_global_random_state_is_left_as_it_was(make_grid, arrays):
    grid = make_grid(toy_app())
    random.seed(123)
    before = random.getstate()
    list(fedsq(fraction=0.5).configure_train(1, arrays, ConfigRecord(), grid))
    assert random.getstate() == before


def test_every_message_names_round_and_fingerprint(make_grid, arrays):
    strategy = fedsq(fingerprint=lambda server_round: f"of round {server_round}")
    config = ConfigRecord({"mine": 1})
    for kind in (strategy.configure_train, strategy.configure_evaluate):
        for message in kind(7, arrays, config, make_grid(toy_app())):
            sent = message.content["config"]
            assert (sent["server-round"], sent["fingerprint"], sent["mine"]) == (7, "of round 7", 1)
    assert dict(config) == {"mine": 1}  # the caller's own record is left alone


def test_fedprox_keeps_its_say(make_grid, arrays):
    strategy = fedsq(inner=FedProx, inner_options={"proximal_mu": 0.25})
    for message in strategy.configure_train(1, arrays, ConfigRecord(), make_grid(toy_app())):
        assert message.content["config"]["proximal-mu"] == 0.25


@pytest.mark.parametrize("inner", [FedAdam, FedMedian])
def test_other_strategies_compose(make_grid, arrays, inner):
    strategy = fedsq(inner=inner)
    for server_round in (1, 2):
        arrays, _ = train_round(strategy, make_grid(toy_app()), arrays, server_round)
    assert arrays["w"].numpy().dtype == np.float32  # FedAdam computes in float64
    assert not np.array_equal(arrays["w"].numpy(), np.zeros((2, 3)))


class Spoiling(FedAvg):
    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        return self.spoil(arrays), metrics


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda arrays: None, "returned no model"),
        (lambda arrays: ArrayRecord({"w": arrays["w"]}), "changed names or shapes"),
        (
            lambda arrays: ArrayRecord({**arrays, "b": Array(np.full(3, np.inf))}),
            "array 'b' by Spoiling is not finite",
        ),
    ],
)
def test_an_average_that_is_no_model_ends_the_run(make_grid, arrays, spoil, fault):
    strategy = fedsq(inner=Spoiling)
    strategy.inner.spoil = spoil
    with pytest.raises(RunFailedError, match=fault):
        train_round(strategy, make_grid(toy_app()), arrays)


def test_a_bad_reply_is_dropped_by_name_and_the_round_goes_on(make_grid, arrays):
    def spoil(silo, content):
        if silo == 2:
            content["arrays"]["w"] = Array(np.full((2, 3), np.nan, np.float32))
        if silo == 3:
            raise ValueError("disk is full")

    strategy = fedsq()
    averaged, _ = train_round(strategy, make_grid(toy_app(spoil)), arrays)
    assert strategy.training.dropped == {2: "array 'w' holds values that are not finite", 3: "disk is full"}
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), 2 / 3, np.float32), rtol=1e-6)


def test_a_silo_that_does_not_answer_is_named(make_grid, arrays):
    grid, strategy = make_grid(toy_app()), fedsq()
    replies = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    strategy.aggregate_train(1, replies[1:])
    assert strategy.training.dropped == {0: "did not answer in time"}


def test_too_few_usable_replies_end_the_run_with_every_reason(make_grid, arrays):
    def spoil(silo, content):
        if silo:
            raise ValueError("no data")

    with pytest.raises(RunFailedError) as raised:
        train_round(fedsq(min_replies=2), make_grid(toy_app(spoil)), arrays)
    assert str(raised.value) == "round 1: 1 usable replies of 4, min_replies=2 (silos 1, 2, 3: no data)"


def test_late_replies_of_another_round_are_dropped(make_grid, arrays):
    grid, strategy = make_grid(toy_app()), fedsq()
    late = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    list(strategy.configure_train(2, arrays, ConfigRecord(), grid))
    with pytest.raises(RunFailedError, match="answers round 1, not 2"):
        strategy.aggregate_train(2, late)


def test_silos_that_hold_nothing_out_do_not_count_as_asked(make_grid, arrays):
    grid, strategy = make_grid(toy_app()), fedsq()  # silo 0 answers with 0 examples
    questions = strategy.configure_evaluate(1, arrays, ConfigRecord(), grid)
    metrics = strategy.aggregate_evaluate(1, grid.send_and_receive(questions))
    assert strategy.evaluation.sampled == [1, 2, 3]
    assert strategy.evaluation.dropped == {}
    assert metrics["accuracy"] == pytest.approx((0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6)


def test_min_replies_must_be_positive():
    with pytest.raises(ValueError, match="min_replies=0"):
        FedSQ(min_replies=0)


def test_flowers_own_loop_drives_it_too(make_grid, arrays):
    result = fedsq().start(make_grid(toy_app()), arrays, num_rounds=2)
    mean = 2.0
    np.testing.assert_allclose(result.arrays["w"].numpy(), np.full((2, 3), 2 * mean, np.float32), rtol=1e-6)
    assert isinstance(result.arrays, ArrayRecord)


@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize("change", ["lacks", "list", "nan"])
def test_a_reply_without_a_number_that_the_round_reads_costs_one_reply_not_the_run(make_grid, arrays, kind, change):
    name = MEASURED[kind][0]

    def spoil(silo, content):
        metrics = content["metrics"]
        if silo == 1 and name in metrics:
            if change == "lacks":
                del metrics[name]
            else:
                metrics[name] = [1.0, 2.0] if change == "list" else float("nan")

    strategy = FedSQ(FedAvg(min_available_nodes=1), metrics=MEASURED)
    with make_grid(toy_app(spoil), silos=2) as grid:
        (finished,) = run_rounds(
            strategy, grid, arrays, first=1, last=1, timeout=5, enter=lambda _: None, evaluate=lambda _: {}
        )
    line = line_of(finished)
    if (kind, change) == ("evaluate", "nan"):  # a diverged model is no fault of the silo's
        assert line["dropped"] == []
    else:
        reason = f"has nan under '{name}'" if change == "nan" else f"has no number under '{name}'"
        assert [(drop["silo"], drop["reason"]) for drop in line["dropped"]] == [(1, reason)]

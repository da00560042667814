"""FedSQ as a whole: what its layers give together, around any strategy of Flower's."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    Krum,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedsq_flwr.federation import FedSQ
from fedsq_flwr.federation.exchange import InProgress
from fedsq_flwr.federation.rounds import run_rounds
from tests.federation.grids import losing
from tests.federation.loops import flowers_loop
from tests.federation.toys import FINGERPRINT, sampling, toy_app


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


def test_flowers_own_loop_drives_it_too(make_grid, arrays):
    result = fedsq().start(make_grid(toy_app()), arrays, num_rounds=2)
    mean = 2.0
    np.testing.assert_allclose(result.arrays["w"].numpy(), np.full((2, 3), 2 * mean, np.float32), rtol=1e-6)
    assert isinstance(result.arrays, ArrayRecord)


def test_differential_privacy_can_be_wrapped_around_it(make_grid, arrays):
    """Flower clips the silos' steps before FedSQ averages them; replies keep the names of their messages."""
    inner = FedAvg(**sampling())
    strategy = DifferentialPrivacyServerSideFixedClipping(
        FedSQ(inner, fingerprint=FINGERPRINT), noise_multiplier=0.0, clipping_norm=3.0, num_sampled_clients=4
    )

    def one_more(silo, content):  # Flower divides by the length of a step
        for name, array in content.get("arrays", {}).items():
            content["arrays"][name] = Array(array.numpy() + np.float32(1))

    averaged = flowers_loop(strategy, make_grid(toy_app(one_more)), arrays)
    # Silo k moves nine values by k + 1, a step of length 3 (k + 1): clipped to 3, all of them move by 1.
    np.testing.assert_allclose(averaged["w"].numpy(), np.ones((2, 3)), rtol=1e-5)


def test_krum_chooses_one_of_the_replies(make_grid, arrays):
    averaged, _ = train_round(fedsq(inner=Krum), make_grid(toy_app()), arrays)
    assert averaged["w"].numpy()[0, 0] in (0, 1, 2, 3)
    assert len(set(averaged["w"].numpy().ravel())) == 1


@pytest.mark.parametrize("inner", [FedAvg, FedAdam, FedMedian])
def test_one_reply_at_a_time_and_in_any_order_it_is_the_same_to_the_bit(make_grid, arrays, inner):
    grid, results = make_grid(toy_app()), []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        strategy = fedsq(inner=inner)
        replies = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
        strategy.begin("train", 1)
        for silo in order:
            strategy.add(replies[silo])
        results.append(strategy.finish())
    at_once = train_round(fedsq(inner=inner), grid, arrays)
    assert results == [at_once, at_once]


def test_several_promises_at_once_hold_together(make_grid, arrays):
    """Linear probing under a server optimiser with uniform weights, and silo 3 is lost in every round."""
    strategy = fedsq(
        inner=FedAvgM, inner_options={"server_learning_rate": 0.5}, uniform=True, linear_probing_rounds=1, head=["b"]
    )
    averaged = flowers_loop(strategy, losing(make_grid(toy_app()), 3, told=True), arrays, 2)
    mean = (0 + 1 + 2) / 3
    np.testing.assert_allclose(averaged["b"].numpy(), np.full(3, 1 + 2 * 0.5 * mean), rtol=1e-6)
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), 0.5 * mean), rtol=1e-6)  # from round 2 on
    assert strategy.training.dropped == {3: "has left, or cannot be reached"}


def test_the_last_round_evaluates_as_many_silos_as_any_other(make_grid, arrays):
    strategy = FedSQ(FedAvg(fraction_evaluate=0.1, **sampling(20, 0.2)))
    told: list[InProgress] = []
    rounds = run_rounds(
        strategy,
        make_grid(toy_app(), silos=20),
        arrays,
        first=1,
        last=3,
        timeout=5,
        enter=lambda _: None,
        evaluate=lambda _: {},
        evaluate_every=2,
        tell=told.append,
    )
    asked = [(len(finished.training.sampled), len(finished.evaluation.sampled)) for finished in rounds]
    assert asked == [(4, 0), (4, 2), (4, 2)]
    assert [len(each.awaited) for each in told] == [4, 3, 2, 1, 0, *2 * [4, 3, 2, 1, 0, 2, 1, 0]]
    assert [each.doing for each in told[5:13]] == 5 * ["training"] + 3 * ["evaluating"]
    assert {each.round: len(each.asked) for each in told[:10]} == {1: 4, 2: 4}

"""A bad reply costs one reply, by name; a lost node too; too few good replies end the run."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg

from fedsq_flwr import FedSQ
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.federation.layers import Screening
from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.replies import copy_reply
from fedsq_flwr.federation.rounds import MEASURED, run_rounds
from fedsq_flwr.records.results import line_of
from tests.federation.grids import Copying, Meddling, losing, of_node_gone
from tests.federation.loops import everywhere, flowers_loop
from tests.federation.toys import mean_of, sampling, toy_app


class Alone(Screening):
    """The layer by itself, with the names that FedSQ has for what came of an exchange."""

    training = property(lambda self: self.exchanges["train"])
    evaluation = property(lambda self: self.exchanges["evaluate"])


def alone(silos=4, **options):
    return Alone(FedAvg(**sampling(silos)), NodeRegistry(), **options)


def whole(silos=4, **options):
    return FedSQ(FedAvg(**sampling(silos)), **options)


def train_round(strategy, grid, arrays, server_round=1):
    messages = list(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
    return strategy.aggregate_train(server_round, grid.send_and_receive(messages))


def is_mean_of(arrays, *silos):
    np.testing.assert_allclose(arrays["w"].numpy(), np.full((2, 3), mean_of(*silos), np.float32), rtol=1e-6)
    return True


def not_a_number(content):
    content["arrays"]["w"] = Array(np.full((2, 3), np.nan, np.float32))


def broadcastable(content):
    content["arrays"]["w"] = Array(np.ones((1, 3), np.float32))


def nameless(content):
    content["arrays"] = ArrayRecord({"b": content["arrays"]["b"]})


def weightless(content):
    content["metrics"]["num-examples"] = 0


def failing(content):
    raise ValueError("disk is full")


def of_many_samples(content):
    content["metrics"]["num-examples"] = 2**63 - 1


def of_another_record(content):
    content["weights"] = content.pop("arrays")


def measured_elsewhere(content):
    content["measures"] = content.pop("metrics")


def with_an_empty_text(content):
    content["config"]["note"] = ""


def of_a_network_that_cannot_be(content):
    content["metrics"]["train_loss"] = 1e308


BAD = {
    of_many_samples: "has weight 9223372036854775807 under 'num-examples', above max_examples=10000000",
    of_another_record: "has no array record of name 'arrays'",
    measured_elsewhere: "has no metric record of name 'metrics'",
    with_an_empty_text: "has an empty value under 'note' in record 'config'",
    of_a_network_that_cannot_be: "has 1e+308 under 'train_loss', not 0 to 3.40282e+38",
    not_a_number: "array 'w' holds values that are not finite",
    broadcastable: "array 'w' has shape (1, 3), not (2, 3)",
    nameless: "lacks array 'w'",
    weightless: "has weight 0 under 'num-examples', not above 0",
    failing: "disk is full",
}


@everywhere(alone, whole)
@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_a_bad_reply_is_dropped_by_name_and_the_round_goes_on(make_grid, arrays, make, loop, spoil):
    def answer(silo, content):
        if silo == 2 and content.array_records:
            spoil(content)

    strategy = make()
    averaged = loop(strategy, make_grid(toy_app(answer)), arrays)
    assert strategy.training.dropped == {2: BAD[spoil]}
    assert sorted(strategy.training.metrics) == [0, 1, 3]
    assert is_mean_of(averaged, 0, 1, 3)


@everywhere(alone, whole)
@pytest.mark.parametrize("kind", ["train", "evaluate"])
@pytest.mark.parametrize("told", [True, False], ids=["the SuperLink says so", "it is never heard of again"])
def test_a_node_that_is_lost_in_mid_round_costs_one_reply(make_grid, arrays, make, loop, kind, told):
    """Flower's error reply for it comes from the server's own node; or there is no reply at all."""
    strategy = make()
    averaged = loop(strategy, losing(make_grid(toy_app()), 1, told=told, kind=kind), arrays, 2)
    exchange, other = strategy.training, strategy.evaluation
    if kind == "evaluate":
        exchange, other = other, exchange
    assert exchange.dropped == {1: "has left, or cannot be reached" if told else "did not answer in time"}
    assert other.dropped == {}
    silos = (0, 2, 3) if kind == "train" else (0, 1, 2, 3)
    np.testing.assert_allclose(averaged["w"].numpy(), np.full((2, 3), 2 * mean_of(*silos)), rtol=1e-6)


def test_without_it_a_bad_reply_ends_flowers_run_or_spoils_the_model(make_grid, arrays):
    """Otherwise the tests above show nothing."""

    def answer(silo, content):
        if silo == 2 and content.array_records:
            not_a_number(content)

    averaged = flowers_loop(FedAvg(**sampling()), make_grid(toy_app(answer)), arrays)
    assert np.isnan(averaged["w"].numpy()).all()


@everywhere(alone, whole)
def test_a_second_reply_and_a_reply_to_nothing_are_told_and_ignored(make_grid, arrays, make, loop, caplog):
    def meddle(exchange):
        replies = [reply for _, reply in exchange]
        again = copy_reply(replies[1])
        not_a_number(again.content)
        stray = of_node_gone(exchange[0][0])
        stray.metadata.__dict__["_reply_to_message_id"] = "of another run"
        return [stray, *replies, again]

    strategy = make()
    averaged = loop(strategy, Meddling(make_grid(toy_app()), meddle), arrays)
    assert is_mean_of(averaged, 0, 1, 2, 3)
    assert strategy.training.dropped == {}
    assert caplog.text.count("answered what it was not asked, or twice") == 2


@everywhere(alone, whole)
def test_if_copies_were_sent_replies_are_matched_by_their_node(make_grid, arrays, make, loop):
    strategy = make()
    averaged = loop(strategy, losing(Copying(make_grid(toy_app())), 3, told=True), arrays)
    assert strategy.training.dropped == {3: "did not answer in time"}  # whose the server's error is, nobody can tell
    assert is_mean_of(averaged, 0, 1, 2)


@pytest.mark.parametrize("make", [alone, whole])
def test_a_silo_that_does_not_answer_is_named(make_grid, arrays, make):
    grid, strategy = make_grid(toy_app()), make()
    replies = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    strategy.aggregate_train(1, replies[:2] + replies[3:])
    (lost,) = strategy.training.dropped
    assert strategy.training.dropped[lost] == "did not answer in time"
    assert strategy.training.sampled == [0, 1, 2, 3]


@pytest.mark.parametrize("make", [alone, whole])
def test_too_few_usable_replies_end_the_run_with_every_reason(make_grid, arrays, make):
    def spoil(silo, content):
        if silo:
            raise ValueError("no data")

    with pytest.raises(RunFailedError) as raised:
        train_round(make(min_replies=2), make_grid(toy_app(spoil)), arrays)
    assert str(raised.value) == "round 1: 1 usable replies of 4, min_replies=2 (silos 1, 2, 3: no data)"


@pytest.mark.parametrize("make", [alone, whole])
def test_late_replies_of_another_round_are_dropped(make_grid, arrays, make):
    grid, strategy = make_grid(toy_app()), make()
    late = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    list(strategy.configure_train(2, arrays, ConfigRecord(), grid))
    with pytest.raises(RunFailedError, match="answers round 1, not 2"):
        strategy.aggregate_train(2, late)


@pytest.mark.parametrize("make", [alone, whole])
def test_a_late_reply_does_not_stand_in_the_way_of_the_one_that_was_asked_for(make_grid, arrays, make):
    grid, strategy = make_grid(toy_app()), make()
    late = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    replies = list(grid.send_and_receive(strategy.configure_train(2, arrays, ConfigRecord(), grid)))
    averaged, _ = strategy.aggregate_train(2, [*late, *replies])
    assert strategy.training.dropped == {}
    assert is_mean_of(averaged, 0, 1, 2, 3)


@pytest.mark.parametrize("make", [alone, whole])
def test_silos_that_hold_nothing_out_do_not_count_as_asked(make_grid, arrays, make):
    grid, strategy = make_grid(toy_app()), make()  # silo 0 answers with 0 examples
    questions = strategy.configure_evaluate(1, arrays, ConfigRecord(), grid)
    metrics = strategy.aggregate_evaluate(1, grid.send_and_receive(questions))
    assert strategy.evaluation.sampled == [1, 2, 3]
    assert strategy.evaluation.dropped == {}
    assert metrics["accuracy"] == pytest.approx((0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6)


@pytest.mark.parametrize("make", [alone, whole])
def test_an_evaluation_without_any_usable_reply_gives_nothing_and_goes_on(make_grid, arrays, make):
    def spoil(silo, content):
        if not content.array_records:
            raise ValueError("no data")

    grid, strategy = make_grid(toy_app(spoil)), make()
    questions = strategy.configure_evaluate(1, arrays, ConfigRecord(), grid)
    assert strategy.aggregate_evaluate(1, grid.send_and_receive(questions)) is None
    assert strategy.evaluation.reasons() == "silos 0, 1, 2, 3: no data"


@pytest.mark.parametrize("make", [alone, whole])
def test_min_replies_must_be_positive(make):
    with pytest.raises(ValueError, match="min_replies=0"):
        make(min_replies=0)


@everywhere(alone, whole)
@pytest.mark.parametrize("odd", ["another", "none", "a list", "a longer list"])
def test_metrics_that_are_not_in_every_reply_cost_no_reply(make_grid, arrays, make, loop, odd):
    """Flower ends a run whose replies have different metrics."""

    def spoil(silo, content):
        metrics = content["metrics"]
        metrics["mine"] = [1.0, 2.0] if "list" in odd else 1.0
        if silo == 2:
            changed = {"another": 1.0, "none": None, "a list": 3.0, "a longer list": [1.0, 2.0, 3.0]}[odd]
            del metrics["mine"]
            if changed is not None:
                metrics["another" if odd == "another" else "mine"] = changed

    strategy = make()
    assert is_mean_of(loop(strategy, make_grid(toy_app(spoil)), arrays), 0, 1, 2, 3)
    _, metrics = train_round(make(), make_grid(toy_app(spoil)), arrays)
    assert sorted(metrics) == ["train_loss", "train_seconds"]
    assert strategy.training.dropped == strategy.evaluation.dropped == {}


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
        assert line.dropped == ()
    else:
        diverged = f"has nan under '{name}': its training diverged, as from too large a learning_rate"
        reason = diverged if change == "nan" else f"has no number under '{name}'"
        assert [(drop.silo, drop.reason) for drop in line.dropped] == [(1, reason)]


def test_a_reply_that_another_node_sent_is_dropped_and_named_after_the_silo_that_was_asked(make_grid, arrays):
    def forge(exchange):
        replies = [reply for _, reply in exchange]
        replies[1].metadata.__dict__["_src_node_id"] = 666
        return replies

    strategy = whole()
    assert is_mean_of(flowers_loop(strategy, Meddling(make_grid(toy_app()), forge), arrays), 0, 2, 3)
    assert strategy.training.dropped == {1: "was answered for by node 666"}


def test_a_node_that_does_not_say_which_silo_it_is_ends_the_run_with_a_reason(make_grid, arrays):
    """The layer alone does not see to it that only silos are sampled."""
    app = toy_app()

    def query(message, context):
        raise ValueError("no partition id")

    app._registered_funcs["query.default"] = query
    with pytest.raises(RunFailedError, match=r"no node said which silo it is.*no partition id"):
        flowers_loop(alone(), make_grid(app), arrays)


@pytest.mark.parametrize("make", [alone, whole])
def test_an_exchange_that_was_not_finished_leaves_nothing_to_the_next(make_grid, arrays, make):
    grid, strategy = make_grid(toy_app()), make(min_replies=3)
    replies = list(grid.send_and_receive(strategy.configure_train(1, arrays, ConfigRecord(), grid)))
    strategy.begin("train", 1)
    for reply in replies[:2]:
        strategy.add(reply)
    strategy.begin("train", 1)
    strategy.add(replies[0])
    strategy.add(replies[1])
    with pytest.raises(RunFailedError, match="round 1: 2 usable replies of 4, min_replies=3"):
        strategy.finish()
    averaged, _ = strategy.aggregate_train(1, replies)
    assert is_mean_of(averaged, 0, 1, 2, 3)
    assert strategy.training.dropped == {}


@everywhere(alone, whole)
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_names_that_are_known_are_not_voted_on(make_grid, arrays, make, loop, kind):
    """Three silos that agree on a name and on the lack of another do not win over the one that is right."""

    def spoil(silo, content):
        metrics = content["metrics"]
        if silo != 3 and bool(content.array_records) == (kind == "train"):
            metrics["mine"] = metrics.pop("train_seconds" if kind == "train" else "accuracy")

    strategy = make(metrics=MEASURED)
    loop(strategy, make_grid(toy_app(spoil)), arrays)
    exchange = strategy.training if kind == "train" else strategy.evaluation
    assert list(exchange.metrics) == [3]
    assert "mine" not in exchange.metrics[3]


@everywhere(alone, whole)
@pytest.mark.parametrize("value", [1e308, 10**400, float("nan"), [1e308], [10**400, 1], []])
def test_a_metric_that_is_not_known_is_ignored_whatever_it_is(make_grid, arrays, make, loop, value):
    def spoil(silo, content):
        content["metrics"].__dict__["_data"]["mine"] = value if silo == 2 else 1.0

    for metrics in ({}, MEASURED):
        strategy = make(metrics=metrics)
        assert is_mean_of(loop(strategy, make_grid(toy_app(spoil)), arrays), 0, 1, 2, 3)
        assert strategy.training.dropped == strategy.evaluation.dropped == {}


def test_the_weights_of_a_round_have_a_largest_sum(make_grid, arrays):
    """In order: what comes first fills the sum."""

    def spoil(silo, content):
        content["metrics"]["num-examples"] = 2**53 if silo == 1 else 1

    strategy = whole(max_examples=2**53)
    averaged, _ = train_round(strategy, make_grid(toy_app(spoil)), arrays)
    assert list(strategy.training.dropped) == [1]
    assert "exceed 2^53" in strategy.training.dropped[1]
    assert averaged["w"].numpy()[0, 0] == pytest.approx(5 / 3)


@pytest.mark.parametrize("most", [0, -1, 2**53 + 1])
@pytest.mark.parametrize("make", [alone, whole])
def test_max_examples_must_be_a_number_of_samples(make, most):
    with pytest.raises(ValueError, match="max_examples="):
        make(max_examples=most)


@everywhere(alone, whole)
def test_a_silo_weighs_what_it_named_when_it_joined(make_grid, arrays, make, loop):
    """Silo 1 names fewer samples than it trains on; silo 2 names some held-out ones, and answers that it has none."""
    from fedsq_flwr.federation import answer_query

    def spoil(silo, content):
        if silo == 2 and not content.array_records:
            content["metrics"]["num-examples"] = 0

    app = toy_app(spoil)

    def query(message, context):
        silo = context.node_config["partition-id"]
        return answer_query(message, context, examples=(silo + (silo != 1), silo))

    app._registered_funcs["query.default"] = query
    strategy = make()
    assert is_mean_of(loop(strategy, make_grid(app), arrays), 0, 2, 3)
    assert strategy.training.dropped == {1: "has weight 2 under 'num-examples', and named 1 when it joined"}
    assert strategy.evaluation.dropped == {2: "has weight 0 under 'num-examples', not above 0"}


@everywhere(alone, whole)
def test_a_loss_that_is_no_number_does_not_hide_the_others(make_grid, arrays, make, loop, caplog):
    def spoil(silo, content):
        if silo == 2 and not content.array_records:
            content["metrics"]["loss"] = float("nan")

    strategy = make(metrics=MEASURED)
    grid = make_grid(toy_app(spoil))
    averaged = loop(strategy, grid, arrays)
    assert strategy.evaluation.dropped == {}
    assert "silo 2 has loss nan, which is not averaged" in caplog.text
    questions = strategy.configure_evaluate(2, averaged, ConfigRecord(), grid)
    metrics = strategy.aggregate_evaluate(2, grid.send_and_receive(questions))
    assert dict(metrics) == {"loss": 1.0, "accuracy": pytest.approx((0.1 * 1 + 0.3 * 3) / 4)}


def test_the_record_is_called_as_the_inner_strategy_calls_it(make_grid, arrays):
    app = toy_app(lambda silo, content: content.__setitem__("weights", content.pop("arrays")) if silo else None)
    train = app._registered_funcs["train.default"]

    def renamed(message, context):
        message.content["arrays"] = message.content["weights"]
        return train(message, context)

    app._registered_funcs["train.default"] = renamed
    app._registered_funcs.pop("evaluate.default")
    strategy = FedSQ(FedAvg(arrayrecord_key="weights", fraction_evaluate=0.0, **sampling()))
    assert is_mean_of(flowers_loop(strategy, make_grid(app), arrays), 1, 2, 3)
    assert strategy.training.dropped == {0: "has no array record of name 'weights'"}

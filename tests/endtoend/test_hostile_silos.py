"""A silo of a run that lies about its numbers is left out by name, and the run ends well."""

import math

import pytest
from flwr.app import Array, ArrayRecord

from fedsq_flwr import client_app
from tests.endtoend.conftest import read_history, read_summary


def scaled(content):
    record = content["arrays"]
    content["arrays"] = ArrayRecord({name: Array(array.numpy() * 1000) for name, array in record.items()})


LIES = {
    "samples": (
        lambda content: content["metrics"].update({"num-examples": content["metrics"]["num-examples"] + 1}),
        r"has weight \d+ under 'num-examples', and named \d+ when it joined",
    ),
    "seconds": (lambda content: content["metrics"].update({"train_seconds": 1e308}), "has 1e\\+308 under 'train_s"),
    "update": (scaled, "has an update of norm .* above max_update_ratio=10 times"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_silo_that_lies_from_the_second_round_on_is_left_out_by_name(run, monkeypatch, lie):
    import re

    change, reason = LIES[lie]
    honest = client_app.answer_train

    def answer(client, message):
        reply = honest(client, message)
        if client.core.number == 1 and message.content["config"]["server-round"] > 1:
            change(reply.content)
        return reply

    monkeypatch.setattr(client_app, "answer_train", answer)
    directory = run("partition.alpha=100")
    first, second = read_history(directory)
    assert first["dropped"] == []
    (dropped,) = second["dropped"]
    assert (dropped["silo"], dropped["while"]) == (1, "training")
    assert re.match(reason, dropped["reason"])
    assert math.isfinite(read_summary(directory)["train_seconds"])


def test_accuracies_that_are_none_end_no_run(run, monkeypatch):
    honest, lies = client_app.answer_evaluate, iter((math.nan, math.inf, 42.0, 1e308))

    def answer(client, message):
        reply = honest(client, message)
        if client.core.number == 1:
            reply.content["metrics"]["accuracy"] = next(lies)
        return reply

    monkeypatch.setattr(client_app, "answer_evaluate", answer)
    lines = read_history(run("rounds=4"))
    assert [[drop["silo"] for drop in line["dropped"]] for line in lines] == [[1]] * 4
    assert all(set(line["silo_accuracies"]) == {"0", "2"} for line in lines)

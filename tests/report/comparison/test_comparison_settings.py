"""Which settings make a condition, a method, or a setting of it."""

import pytest
from fedsq_flwr.data.partition_plan import PARAMETERS, PARTITIONS

from fedsq_flwr.report.comparison.settings import comparable, describe, flatten, is_condition, is_tuned, varying


def test_null_and_absent_are_the_same_and_lists_can_be_compared():
    flat = flatten({"data": {"limit": None, "classes": ["cat", "dog"]}, "seed": 3})
    assert flat == {"data.classes": ("cat", "dog"), "seed": 3}


def test_what_changes_no_number_is_left_out():
    values = {
        "seed": 1,
        "output": "a",
        "diagnostics": True,
        "trackers": ("tensorboard",),
        "executor.name": "simulation",
        "executor.precision": "bfloat16",
        "learning_rate": 0.1,
    }
    assert comparable(values) == {"executor.precision": "bfloat16", "learning_rate": 0.1}


@pytest.mark.parametrize("kind", PARTITIONS)
def test_a_parameter_counts_only_in_the_partitions_that_look_at_it(kind):
    parameters = {f"partition.{name}": 2 for name in PARAMETERS.values()}
    own = {f"partition.{PARAMETERS[kind]}"} if kind in PARAMETERS else set()
    assert comparable({"partition.name": kind, **parameters}).keys() == {"partition.name", *own}


def test_alpha_counts_only_where_it_has_an_effect():
    values = {"partition.name": "iid", "partition.alpha": 0.1}
    assert comparable(values) == {"partition.name": "iid"}
    assert comparable(values | {"partition.name": "dirichlet"})["partition.alpha"] == 0.1
    assert comparable({"executor.name": "silos", "partition.alpha": 0.1}) == {"partition.name": "silos"}


def test_settings_that_differ_or_that_only_some_have():
    runs = [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3}]
    assert varying(runs) == ["b", "c"]
    assert varying([{"a": 1}, {"a": True}]) == ["a"]
    assert varying(runs[:1]) == []


def test_conditions_go_by_group_so_that_new_settings_fall_into_place():
    assert all(map(is_condition, ["data.limit", "partition.alpha", "backbone.weights", "silos", "participation"]))
    assert not any(map(is_condition, ["learning_rate_schedule", "batch_norm", "method.anything", "something_new"]))


def test_fractions_are_tuned_and_counts_and_words_are_not():
    runs = [{"learning_rate": 0.1, "batch_norm": "batch", "method.freeze_after": 3, "nesterov": True}, {}]
    assert is_tuned("learning_rate", runs)
    assert not any(is_tuned(name, runs) for name in ("batch_norm", "method.freeze_after", "nesterov"))


def test_short_names_where_they_are_clear():
    assert describe((("learning_rate", 0.05), ("method.freeze_after", 3))) == "learning_rate 0.05, freeze_after 3"
    assert describe((("partition.name", "iid"),)) == "partition iid"
    names = ["backbone.pretraining.epochs", "method.epochs"]
    assert describe((("method.epochs", 2),), names) == "method.epochs 2"
    assert describe((("nesterov", True), ("data.classes", ("cat", "dog")))) == "nesterov true, classes cat dog"

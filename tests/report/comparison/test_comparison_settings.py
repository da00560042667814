"""Which settings make a condition, a method, or a setting of it."""

from fedsq_flwr.report.comparison.settings import (
    comparable,
    describe,
    is_condition,
    is_of_sharing,
    is_tuned,
    pick,
    varying,
)
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.run import RunSettings


def values(**groups):
    return comparable(RunSettings.parse({"experiment": "digits", **groups}))


def test_lists_can_be_compared_and_null_is_not_told():
    data = values(data={"name": "digits", "classes": ["1", "2"]})
    assert data["data.classes"] == ("1", "2")
    assert pick(data, ["data.classes", "data.limit", "nothing"]) == (("data.classes", ("1", "2")),)


def test_what_changes_no_number_is_left_out():
    told = values(
        output="a",
        seed=1,
        diagnostics=True,
        trackers=["tensorboard"],
        executor={"name": "simulation", "precision": "bfloat16", "threads": 2},
    )
    assert [name for name in told if name.startswith("executor.")] == ["executor.precision"]
    idle = {"seed", "output", "resume", "cache_dir", "experiment", "diagnostics", "diagnostics_size", "trackers"}
    assert not told.keys() & idle
    assert {"learning_rate", "method.name", "data.name", "silos"} <= told.keys()


def test_a_partition_has_the_parameters_of_its_kind_only():
    assert values(partition={"name": "iid"}).keys() & {"partition.alpha", "partition.shards_per_silo"} == set()
    assert values(partition={"name": "dirichlet", "alpha": 0.1})["partition.alpha"] == 0.1


def test_of_real_silos_no_partition_counts():
    executor = {"name": "silos", "superlink": "localhost:1"}
    told = values(executor=executor, partition={"name": "dirichlet", "alpha": 0.1})
    assert {name: value for name, value in told.items() if name.startswith("partition.")} == {
        "partition.name": "silos"
    }


def test_settings_vary_where_runs_that_have_them_differ():
    runs = [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 3}]
    assert varying(runs) == ["b"]
    assert varying([{"a": 1}, {"a": True}]) == ["a"]
    assert varying([{"a": None}, {"a": 0}, {}]) == ["a"]
    assert varying(runs[:1]) == []


def test_what_a_setting_is_for_stands_on_its_field():
    conditions = {name for name in catalogue(RunSettings) if is_condition(name)}
    groups = {name.partition(".")[0] for name in conditions if "." in name}
    assert groups == {"data", "backbone", "partition"}
    assert {"silos", "rounds", "fraction_train", "local_epochs", "min_replies", "partition.seed"} <= conditions
    assert not conditions & {"learning_rate_schedule", "batch_norm", "method.pooled", "method.freeze_after"}
    sharing = {name for name in conditions if is_of_sharing(name)}
    assert {"silos", "fraction_train", "partition.alpha", "partition.name"} <= sharing
    assert not sharing & {"partition.seed", "partition.file", "rounds"}
    assert not any(map(is_condition, ["method.anything", "something_new"]))


def test_fractions_are_tuned_and_counts_and_words_are_not():
    runs = [
        values(),
        values(method={"name": "fedprox", "aggregation": "fedprox", "gates": "none"}, learning_rate=1.0),
    ]
    assert all(is_tuned(name, runs) for name in ("learning_rate", "momentum", "weight_decay", "method.mu"))
    assert not any(is_tuned(name, runs) for name in ("batch_norm", "method.freeze_after", "batch_size"))


def test_what_a_method_promises_is_not_tuned():
    private = {"privacy": "adaptive_clipping", "weighting": "uniform"}
    others = {"batch_norm": "frozen", "max_update_ratio": 0.0}
    runs = [values(method={**private, "noise_multiplier": noise}, **others) for noise in (0.5, 1.0)]
    assert not any(is_tuned(f"method.{name}", runs) for name in ("noise_multiplier", "count_noise", "delta"))
    assert is_tuned("method.clip", runs)
    assert "method.max_epsilon" not in runs[0]
    assert varying(runs) == ["method.noise_multiplier"]


def test_short_names_where_they_are_clear():
    assert describe((("learning_rate", 0.05), ("method.freeze_after", 3))) == "learning_rate 0.05, freeze_after 3"
    assert describe((("partition.name", "iid"),)) == "partition iid"
    names = ["backbone.pretraining.epochs", "method.epochs"]
    assert describe((("method.epochs", 2),), names) == "method.epochs 2"
    assert describe((("nesterov", True), ("data.classes", ("cat", "dog")))) == "nesterov true, classes cat dog"

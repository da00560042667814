"""What trackers are told, and above all what not."""

import dataclasses

from fedsq_flwr.config import compose_config
from fedsq_flwr.config.schema import Config

from fedsq_flwr.trackers.content import PLACES, metrics_of, settings_of, summary_of

HIDDEN = "/home/dr-who"


def names(settings: object, prefix: str = "") -> set[str]:
    found = set()
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        nested = dataclasses.is_dataclass(value)
        found |= names(value, f"{prefix}{field.name}.") if nested else {prefix + field.name}
    return found


def told(config: Config) -> dict:
    return settings_of(config)


def test_all_settings_are_told_but_those_that_name_places() -> None:
    config = compose_config(["data.min_held_out=7"])
    assert told(config).keys() == names(config) - set(PLACES)
    assert told(config)["data.min_held_out"] == 7
    assert told(config)["data.classes"] == "null"


def test_no_path_or_address_is_told(tmp_path) -> None:
    file = tmp_path / "dr-who.safetensors"
    file.touch()
    places = [f"output={HIDDEN}", f"cache_dir={HIDDEN}", f"executor.gate_cache_dir={HIDDEN}"]
    silos = [f"executor.root_certificates={HIDDEN}", "executor.superlink=dr-who:9092", f"data.path={HIDDEN}"]
    config = compose_config(["executor=silos", "data=imagefolder", *places, *silos, f"backbone.weights={file}"])
    assert "dr-who" not in str(told(config))
    groups = f"partition.groups={HIDDEN}/groups.csv"
    folder = compose_config(["data=imagefolder", f"data.path={tmp_path}", "partition=natural", groups])
    assert "dr-who" not in str(told(folder))
    reused = compose_config(["partition=file", f"partition.file={file}"])
    assert "dr-who" not in str(told(reused))
    assert told(config)["backbone.weights"] == "a file"
    assert told(compose_config(["backbone.weights=random"]))["backbone.weights"] == "random"


def test_a_rounds_figures_are_told_without_those_of_single_silos() -> None:
    line = {
        "round": 3,
        "accuracy": 0.5,
        "test_accuracy": None,
        "replies": 2,
        "dropped": [{"silo": 1, "reason": HIDDEN, "while": "training"}],
        "silo_accuracies": {"0": 0.1},
        "silo_accuracy_worst": 0.1,
        "fingerprint": "abc",
        "diagnostics": {"flip_rate": 0.25, "layers": [{"flips": 1.0}], "drift": {"mean": 2.0, "by_silo": [1.0]}},
    }
    assert metrics_of(line) == {
        "accuracy": 0.5,
        "replies": 2,
        "silo_accuracy_worst": 0.1,
        "diagnostics.flip_rate": 0.25,
        "diagnostics.drift.mean": 2.0,
    }


def test_the_summarys_results_are_told_apart_from_a_rounds() -> None:
    summary = {"schema": 1, "seed": 0, "alpha": 0.5, "test_accuracy": 0.9, "per_silo": [], "fingerprint": "abc"}
    assert summary_of(summary) == {"summary/test_accuracy": 0.9}

"""What is known of each setting, and what derives from it: whether a run may be resumed, and what a silo is told."""

from pathlib import Path

import pytest

from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.fields import Fact, catalogue, defaults, facts_of
from fedsq_flwr.settings.files import with_absolute_paths
from fedsq_flwr.settings.resuming import changes
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import for_real_silos

RESUMABLE = [
    "rounds=12", "output=elsewhere", "resume=true", "trackers=[tensorboard]", "cache_dir=/elsewhere",
    "diagnostics=true", "min_available_silos=3", "executor=inprocess", "executor.kernels=native",
    "executor.device=cpu", "executor.round_timeout=3", "executor.gate_cache_bytes=0",
]  # fmt: skip
NOT_RESUMABLE = [
    "seed=1", "silos=11", "learning_rate=0.2", "batch_size=16", "batch_norm=frozen", "partition.alpha=1",
    "partition=iid", "data.augmentation=flip", "backbone.head=normal", "method=fedavg", "method.refresh_every=2",
    "executor.threads=2", "executor.precision=bfloat16", "wire_dtype=float16", "fraction_train=0.5",
]  # fmt: skip


@pytest.mark.parametrize("override", RESUMABLE)
def test_what_changes_no_later_round_may_change_when_a_run_is_resumed(override: str) -> None:
    assert changes(compose_settings(), compose_settings([override])) == []


@pytest.mark.parametrize("override", NOT_RESUMABLE)
def test_what_changes_later_rounds_may_not(override: str) -> None:
    told = changes(compose_settings(), compose_settings([override]))
    name = override.partition("=")[0]
    assert {name, f"{name}.name"} & set(told)


def test_rounds_may_not_change_where_the_learning_rate_falls_over_them() -> None:
    before, now = (compose_settings([*each, "learning_rate_schedule=cosine"]) for each in ([], ["rounds=12"]))
    assert changes(before, now) == ["rounds"]


def test_every_setting_has_a_description_but_those_that_choose() -> None:
    for name, entry in catalogue(RunSettings).items():
        assert entry.is_tag or len(entry.description) > 10, name
        assert not entry.description or entry.description.endswith((".", ".)")), name


def test_a_choice_has_the_facts_of_the_setting_that_chooses() -> None:
    assert Fact.NO_NUMBER in facts_of(RunSettings, "executor")
    assert Fact.NO_NUMBER in facts_of(RunSettings, "executor.workers")
    assert Fact.SHARING in facts_of(RunSettings, "partition")
    assert facts_of(RunSettings, "nothing") == frozenset()


def test_the_defaults_of_all_variants_are_those_of_the_classes() -> None:
    every = flat(defaults(RunSettings))
    chosen = flat(RunSettings(experiment="none").plain())
    assert chosen.keys() <= every.keys()
    settled = {"local_epochs": 1.0}  # null is settled when it is known that no steps are given
    assert {name: value for name, value in chosen.items() if every[name] not in ("???", value)} == settled


def test_paths_become_absolute_and_stay_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    settings = with_absolute_paths(compose_settings(["data=imagefolder", "data.path=photos", "output=runs/a"]))
    assert flat(settings.plain())["data.path"] == str(tmp_path / "photos")
    assert settings.output == str(tmp_path / "runs" / "a")
    assert settings.cache_dir.startswith("/")
    assert with_absolute_paths(settings) == settings


def test_real_silos_are_told_no_path_and_no_address(tmp_path: Path) -> None:
    weights, partition = tmp_path / "own.safetensors", tmp_path / "partition.json"
    weights.touch()
    partition.touch()
    own = {
        "executor.superlink": "server.example:9092",
        "executor.root_certificates": f"{tmp_path}/ca.crt",
        "executor.gate_cache_dir": str(tmp_path),
        "backbone.weights": str(weights),
        "partition.file": str(partition),
        "output": f"{tmp_path}/run",
        "cache_dir": str(tmp_path),
        "trackers": "[mlflow]",
    }
    overrides = [f"{name}={value}" for name, value in own.items()]
    settings = compose_settings(["executor=silos", "partition=file", *overrides])
    told = for_real_silos(settings)
    assert str(tmp_path) not in told.to_json()
    assert "server.example" not in told.to_json()
    assert told.backbone.weights == "own.safetensors"
    assert flat(told.plain())["partition.file"] == "partition.json"
    numbers = {Fact.PATH, Fact.PLACE, Fact.NO_NUMBER}
    before, after = flat(settings.plain()), flat(told.plain())
    differ = {name for name in before if before[name] != after[name] and not numbers & facts_of(RunSettings, name)}
    assert differ == {"backbone.weights"}

"""From Flower's run config to settings: composed there by Hydra, or composed already and sent as JSON."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict
from flwr.app.user_config import UserConfigValue

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.run_config import KEYS, SETTINGS, place_of, settings_of
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.files import with_absolute_paths
from fedsq_flwr.settings.run import MAX_JSON, RunSettings

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
#: The run config that `flwr run` sends where nothing is told.
DEFAULTS = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["flwr"]["app"]["config"]


@pytest.fixture(autouse=True)
def flower_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLWR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def told(**run_config: UserConfigValue) -> RunSettings:
    return settings_of(Context(1, 1, {}, RecordDict(), {**DEFAULTS, **run_config}))


def complaint(**run_config: UserConfigValue) -> str:
    with pytest.raises(ConfigurationError) as caught:
        told(**run_config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def composed(*overrides: str) -> RunSettings:
    return with_absolute_paths(compose_settings([*overrides, f"output='{place_of('run')}'"]))


@pytest.mark.parametrize(
    ("run_config", "overrides"),
    [
        ({"experiment": "", "overrides": "output=run"}, []),
        ({"experiment": "", "overrides": " output=run\n seed=5  "}, ["seed=5"]),
        (
            {"experiment": "paper/alexnet_cifar100_iid", "overrides": "output=run rounds=3"},
            ["experiment=paper/alexnet_cifar100_iid", "rounds=3"],
        ),
        (
            {"experiment": "digits", "overrides": """data.classes=["a b", '1'] partition=shards output=run"""},
            ["experiment=digits", """data.classes=["a b", '1']""", "partition=shards"],
        ),
    ],
    ids=["defaults", "overrides", "experiment", "quotes and brackets"],
)
def test_plain_flwr_run_reaches_every_setting_by_two_keys(run_config: dict, overrides: list[str]) -> None:
    assert told(**run_config) == composed(*overrides)


def test_the_keys_of_flowers_users_are_settings() -> None:
    told_by_keys = told(
        **{
            "experiment": "paper/alexnet_cifar100_iid",
            "num-server-rounds": 7,
            "fraction-train": 0.5,
            "fraction-evaluate": 1,
            "local-epochs": 0.5,
            "learning-rate": 0.05,
            "batch-size": 16,
            "overrides": "output=run seed=3",
        }
    )
    assert told_by_keys == composed(
        *(
            "experiment=paper/alexnet_cifar100_iid",
            "rounds=7",
            "fraction_train=0.5",
            "fraction_evaluate=1.0",
            "local_epochs=0.5",
        ),
        *("learning_rate=0.05", "batch_size=16", "seed=3"),
    )


def test_each_key_is_in_the_run_config_and_its_default_leaves_the_setting_as_in_conf() -> None:
    assert DEFAULTS.keys() == {*KEYS, "overrides"}
    assert told(overrides="output=run") == composed()
    assert told(**{"fraction-evaluate": 0}).fraction_evaluate == 0


@pytest.mark.parametrize(
    ("key", "value", "override", "used"),
    [
        ("experiment", "digits", "experiment=cifar10_halves", "experiment=cifar10_halves"),
        ("num-server-rounds", 5, "rounds=3", "rounds=3"),
        ("fraction-train", 0.5, "fraction_train=1", "fraction_train=1.0"),
        ("fraction-evaluate", 0, "fraction_evaluate=0.5", "fraction_evaluate=0.5"),
        ("local-epochs", 2, "local_epochs=1", "local_epochs=1.0"),
        ("learning-rate", 0.05, "learning_rate=0.1", "learning_rate=0.1"),
        ("batch-size", 16, "batch_size=8", "batch_size=8"),
    ],
)
def test_a_key_and_an_override_must_agree(key: str, value: UserConfigValue, override: str, used: str) -> None:
    line = f"{key}={value}: disagrees with {used} in overrides; give one of them"
    assert complaint(**{key: value, "overrides": override}) == line


def test_a_key_and_an_override_may_say_the_same() -> None:
    said_twice = told(**{"num-server-rounds": 5, "overrides": "rounds=5 output=run"})
    assert said_twice == composed("rounds=5")


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("learning-rate", "abc", "learning_rate=abc: must be a number"),
        ("learning-rate", "0.1 rounds=3", "learning_rate=0.1 rounds=3: must be a number"),
        ("num-server-rounds", 2.5, "rounds=2.5: must be a whole number"),
        ("num-server-rounds", True, "rounds=true: must be a whole number"),
        ("num-server-rounds", False, "rounds=false: must be a whole number"),
        ("num-server-rounds", -1, "rounds=-1: must be at least 1"),
        ("fraction-train", 1.5, "fraction_train=1.5: must be above 0 and at most 1"),
        ("batch-size", float("nan"), "batch_size=nan: must be "),
    ],
)
def test_a_bad_value_of_a_key_is_one_line(key: str, value: UserConfigValue, line: str) -> None:
    assert complaint(**{key: value}).startswith(line)


def test_a_relative_output_lies_in_flowers_home_whatever_the_working_directory_is(
    tmp_path: Path, flower_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(overrides="output=here").output == str(flower_home / "fedsq" / "here")
    assert told(overrides=f"output={tmp_path}/there").output == f"{tmp_path}/there"
    assert told(overrides="output='~/there'").output == str(Path("~/there").expanduser())
    monkeypatch.delenv("FLWR_HOME")
    assert place_of("here") == Path.home() / ".flwr" / "fedsq" / "here"


def test_other_paths_are_absolute_since_the_apps_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(overrides="executor.gate_cache_dir=gates").executor.gate_cache_dir == f"{tmp_path}/gates"


@pytest.mark.parametrize(
    "overrides",
    [[], ["method=fedadam"], ["method=fedsq_frozen_later"], ["partition=quantity"], ["executor=silos"],
     ["backbone=resnet18", "backbone.mean=[0.5,1e-7,3]", "backbone.std=[1]"], ["data.classes=['1', \"a'b\"]"]],
    ids=str,
)  # fmt: skip
def test_settings_that_were_composed_already_arrive_as_they_were_sent(overrides: list[str]) -> None:
    settings = composed(*overrides)
    assert told(**{SETTINGS: settings.to_json()}) == settings
    assert told(**{SETTINGS: settings.to_json(), "experiment": "", "overrides": ""}) == settings


def test_what_was_composed_already_is_not_composed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a preset of the server's user, or another version's default, would change a run on its way."""
    sent = composed("rounds=7").to_json()
    composer = "fedsq_flwr.settings.composition.compose_settings"
    monkeypatch.setattr(composer, lambda *_, **__: pytest.fail("composed"))
    assert told(**{SETTINGS: sent, "experiment": "digits", "overrides": "rounds=3"}).rounds == 7


def nested(name: str, brackets: str, levels: int = 900) -> str:
    opening = {"[]": "[", "{}": '{"a": '}[brackets]
    return f'{{"experiment": "digits", "{name}": {opening * levels}1{brackets[1] * levels}}}'


@pytest.fixture(scope="module")
def plain_settings() -> dict[str, object]:
    return compose_settings().plain()


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        ("{", "settings: no JSON: Expecting property name"),
        ("rounds=3", "settings: no JSON: Expecting value"),
        ("\x00", "settings: no JSON: "),
        ("[1]", "settings: list where a JSON object is expected"),
        ("null", "settings: NoneType where a JSON object is expected"),
        ('"text"', "settings: str where a JSON object is expected"),
        ("{}", "experiment: must be given"),
        ("[" * 100_000, "settings: no JSON: "),
        ('{"data":' * 20_000, "settings: no JSON: "),
        (nested("rounds", "[]"), "rounds=[[[[[...]]]]]: must be a whole number"),
        (nested("trackers", "{}"), "trackers={a: {a: {a: {a: {...}}}}}: must be a list"),
        (nested("method", "[]"), "method=[[[[[...]]]]]: must be a group of settings"),
        (nested("no_such", "[]"), "no_such: there is no such setting"),
        ('{"rounds": ' + "9" * 5000 + "}", "settings: no JSON: Exceeds the limit"),
        (" " * (MAX_JSON + 1), f"settings: {MAX_JSON + 1:,} characters; allowed are {MAX_JSON:,}"),
        ({"rouns": 3}, "rouns: there is no such setting; did you mean rounds?"),
        ({"no\nsuch": 3}, "no such: there is no such setting"),
        ({"rounds": "3"}, "rounds=3: must be a whole number"),
        ({"rounds": 0}, "rounds=0: must be at least 1"),
        ({"rounds": True}, "rounds=true: must be a whole number"),
        ({"learning_rate": 10**400}, "learning_rate=a number of many digits: must be a number"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be a finite number"),
        ({"learning_rate": float("inf")}, "learning_rate=inf: must be a finite number"),
        ({"trackers": ["mlflow"] * 10_000}, "trackers=[mlflow, mlflow, "),
        ({"output": "\x1b[2J", "rounds": "\x1b[2J\r\x00"}, "rounds=[2J: must be a whole number"),
        ({"resume": "yes"}, "resume=yes: must be true or false"),
        ({"data": None}, "data=null: must be a group of settings"),
        ({"data": []}, "data=[]: must be a group of settings"),
        ({"method": 7}, "method=7: must be a group of settings"),
        ({"partition": {"name": "nope"}}, "partition.name=nope: allowed are iid, dirichlet, "),
        ({"partition": {}}, "partition.name=null: allowed are iid, dirichlet, "),
        (
            {"partition": {"name": "iid", "alpha": 1.0}},
            "partition.alpha=1.0: is a setting of partition=dirichlet",
        ),
        ({"executor": {"name": "inprocess", "__class__": "x"}}, "executor.__class__: there is no such setting"),
        ({"output": "x" * 1000, "rounds": "y" * 1000}, "rounds=" + "y" * 197 + "...: must be a whole number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_hostile_json_is_refused_in_one_short_line(
    sent: str | dict[str, object], line: str, plain_settings
) -> None:
    """``sent`` is the text, or what is other than in right settings."""
    told = complaint(**{SETTINGS: sent if isinstance(sent, str) else json.dumps(plain_settings | sent)})
    assert told.isprintable()
    assert told.startswith(line)
    assert len(told) < 500


def test_bad_overrides_are_refused_as_on_the_command_line() -> None:
    assert complaint(overrides="rounds=0") == "rounds=0: must be at least 1"
    assert complaint(overrides="rounds=abc") == "rounds=abc: must be a whole number"
    assert complaint(overrides="x='a") == "overrides=x='a: ' is missing"
    assert complaint(experiment="nope").startswith("experiment=nope: allowed are cifar10_halves, ")
    assert complaint(overrides="partition=iid partition.alpha=0.1") == (
        "partition.alpha=0.1: is a setting of partition=dirichlet, quantity, not of partition=iid"
    )


def test_the_app_of_a_silo_never_loads_hydra() -> None:
    """What reaches a silo is checked by its own classes; no language of overrides is there to be abused."""
    program = "import sys, fedsq_flwr.client_app; print({'hydra', 'omegaconf'} & sys.modules.keys())"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "set()\n"

"""From overrides to settings: defaults, options, and who wins over whom."""

from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.base import flat
from fedsq_flwr.settings.composition import Sources, compose_settings, conf_directory
from fedsq_flwr.settings.fields import MISSING, catalogue
from fedsq_flwr.settings.method import FedProx
from fedsq_flwr.settings.run import RunSettings

CONF = conf_directory()
OPTIONS = sorted((file.parent.name, file.stem) for file in CONF.glob("*/*.yaml"))

#: What an option cannot have a default for.
NEEDED = {
    "imagefolder": ["data.path=/usr"],
    "cifar10_halves": ["backbone.weights=random"],
    "file": ["partition.file=/dev/null"],
}


def test_the_defaults_are_the_digits_with_fixed_gates() -> None:
    config = compose_settings()
    assert (config.experiment, config.data.name, config.backbone.name) == ("digits", "digits", "resnet20")
    assert (config.method.name, config.method.gates, config.method.aggregation) == ("fedsq", "pretrained", "fedavg")
    assert (config.partition.name, config.partition.alpha) == ("dirichlet", 0.5)
    assert (config.silos, config.rounds, config.seed, config.batch_norm) == (10, 10, 0, "batch")


def test_every_setting_has_a_value_and_the_type_that_its_class_says() -> None:
    settings = compose_settings()
    assert isinstance(settings, RunSettings)
    assert MISSING not in flat(settings.plain()).values()
    assert {type(settings.rounds), type(settings.learning_rate), type(settings.resume)} == {int, float, bool}


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_of_every_group_composes(group: str, option: str) -> None:
    config = compose_settings([f"{group}={option}", *NEEDED.get(option, [])])
    chosen = getattr(config, group)
    assert option == (chosen if isinstance(chosen, str) else chosen.name)


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda value: value)
def test_every_option_says_in_its_first_line_what_it_is(group: str, option: str) -> None:
    lines = (CONF / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if line.startswith("# ") and not line.startswith("# @package")]
    assert comments


def test_a_value_wins_over_its_groups_file_in_either_order() -> None:
    settings = compose_settings(["partition=quantity", "partition.alpha=0.1"])
    assert (settings.partition.name, flat(settings.plain())["partition.alpha"]) == ("quantity", 0.1)
    assert settings == compose_settings(["partition.alpha=0.1", "partition=quantity", f"output={settings.output}"])


def test_the_last_of_two_values_wins() -> None:
    assert compose_settings(["rounds=3", "rounds=4"]).rounds == 4


@pytest.fixture
def preset(tmp_path: Path) -> list[str]:
    """An experiment that sets a method, a value of another group, and a value of none."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "trial.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /method: fedprox\n  - override /partition: iid\n"
        "rounds: 3\nmethod:\n  mu: 0.5\nexecutor:\n  threads: 3\ndata:\n  min_held_out: 4\n",
        encoding="utf-8",
    )
    return [f"hydra.searchpath=[file://{tmp_path}]", "experiment=trial"]


def mu_of(settings: RunSettings) -> float:
    assert isinstance(settings.method.averaging, FedProx)
    return settings.method.averaging.mu


def test_an_experiment_wins_over_the_defaults(preset: list[str]) -> None:
    config = compose_settings(preset)
    assert (config.experiment, config.rounds) == ("trial", 3)
    assert (config.method.name, mu_of(config), config.partition.name) == ("fedprox", 0.5, "iid")
    assert (config.executor.threads, config.data.min_held_out, config.silos) == (3, 4, 10)


def test_what_a_method_is_not_itself_without_wins_over_an_experiment(preset: list[str]) -> None:
    (file,) = (Path(preset[0].partition("file://")[2].rstrip("]")) / "experiment").iterdir()
    text = file.read_text(encoding="utf-8").replace("method:\n  mu: 0.5\n", "")
    file.write_text(text + "silos: 20\nmin_replies: 2\nbatch_norm: frozen\n")
    plain, pooled = (compose_settings([*preset, f"method={method}"]) for method in ("fedavg", "centralised"))
    assert (plain.silos, plain.partition.name, plain.min_replies) == (20, "iid", 2)
    assert (pooled.silos, pooled.min_replies, pooled.batch_norm) == (1, 1, "frozen")
    assert compose_settings([*preset, "method=fedbn"]).batch_norm == "local"
    file.write_text(file.read_text(encoding="utf-8").replace("fedprox", "fedbn"))
    assert compose_settings(preset).batch_norm == "local"


def test_the_command_line_wins_over_what_a_method_is_not_itself_without() -> None:
    assert compose_settings(["batch_norm=batch", "method=fedbn"]).batch_norm == "batch"
    assert compose_settings(["method=head_only", "rounds=7"]).linear_probing_rounds == 7
    assert compose_settings(["method=head_only", "linear_probing_rounds=2"]).linear_probing_rounds == 2


@pytest.mark.parametrize("experiment_first", [True, False])
def test_the_command_line_wins_over_an_experiment(preset: list[str], experiment_first: bool) -> None:
    own = ["method=fedsq_prox", "rounds=7", "method.mu=0.25", "partition=dirichlet"]
    config = compose_settings([*preset, *own] if experiment_first else [*own, *preset])
    assert (config.method.name, mu_of(config), config.rounds) == ("fedsq_prox", 0.25, 7)
    assert config.partition.name == "dirichlet"


def test_a_value_may_refer_to_another() -> None:
    assert compose_settings(["silos=7", "min_replies=${silos}"]).min_replies == 7


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSQ_CACHE", "/elsewhere")
    assert compose_settings().cache_dir == "/elsewhere"
    monkeypatch.delenv("FEDSQ_CACHE")
    assert compose_settings().cache_dir == "~/.cache/fedsq_flwr"


def test_overrides_are_not_remembered() -> None:
    compose_settings(["rounds=3", "method=fedavg"])
    config = compose_settings()
    assert (config.rounds, config.method.name) == (10, "fedsq")


def test_hydras_singleton_is_left_as_it_was_even_after_an_error() -> None:
    singleton = GlobalHydra.instance()
    before = singleton.hydra
    compose_settings()
    with pytest.raises(ConfigurationError):
        compose_settings(["rounds=0"])
    with pytest.raises(ConfigurationError):
        compose_settings(["method=nope"])
    assert singleton.hydra is before


def test_what_a_preset_says_of_a_variant_that_is_not_chosen_is_left_out(preset: list[str]) -> None:
    settings = compose_settings([*preset, "method=fedavg"])  # the preset's mu is FedProx's
    assert (settings.method.name, settings.method.aggregation) == ("fedavg", "fedavg")
    assert "method.mu" not in flat(settings.plain())


def test_a_preset_with_a_setting_that_does_not_exist_is_refused(preset: list[str]) -> None:
    (file,) = (Path(preset[0].partition("file://")[2].rstrip("]")) / "experiment").iterdir()
    file.write_text(file.read_text(encoding="utf-8").replace("mu:", "mew:"), encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"^method\.mew: there is no such setting; did you mean .*method\.mu"
    ):
        compose_settings(preset)


def test_a_default_stands_in_one_place_only() -> None:
    """The classes hold the defaults, and no file of ``conf`` repeats one."""
    for file in sorted(CONF.rglob("*.yaml")):
        if file.parent.name in ("experiment", "global") or file.parent == CONF:
            continue
        group = file.parent.name
        for name, value in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            entry = catalogue(RunSettings).get(f"{group}.{name}")
            if name != "defaults" and entry is not None and not entry.is_tag and name != "name":
                assert value != entry.default, f"{file} repeats the default of {group}.{name}"


def test_a_folder_of_ones_own_adds_choices_and_may_be_the_primary_file(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "strong_prox.yaml").write_text("name: strong_prox\naggregation: fedprox\nmu: 1.0\n")
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nrounds: 2\n")
    added = compose_settings(["method=strong_prox"], Sources(config_dir=str(tmp_path)))
    assert (added.method.name, mu_of(added), added.rounds) == ("strong_prox", 1.0, 10)
    primary = compose_settings([], Sources(config_name="mine", config_dir=str(tmp_path)))
    assert (primary.rounds, primary.silos) == (2, 10)


@pytest.mark.parametrize("name", ["config.yaml", "method/fedavg.yaml"])
def test_a_file_that_would_stand_in_for_a_shipped_one_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("learning_rate: 5\n")
    with pytest.raises(ConfigurationError, match=rf"^{file}: has the name of the shipped conf/{name}"):
        compose_settings([], Sources(config_dir=str(tmp_path)))


def test_a_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="--config-dir=/no/such: there is no such folder"):
        compose_settings([], Sources(config_dir="/no/such"))


BROKEN = {
    b"name: x\n\tgates: none\n": "FILE: line 2 is not YAML: found character '\\t'",
    b"name: [x\n": "FILE: line 2 is not YAML: expected ',' or ']'",
    b"a: *nothing\n": "FILE: line 1 is not YAML: found undefined alias 'nothing'",
    b"name: a\nname: b\n": "FILE: line 2 is not YAML: found duplicate key name",
    b"name: !!python/object:os.system x\n": "FILE: line 1 is not YAML: could not determine a constructor",
    b"name: a\n---\nname: b\n": "FILE: line 2 is not YAML: expected a single document in the stream but found",
    b"name: a\x00b\n": "FILE: is not YAML: unacceptable character #x0000",
    b"name: caf\xe9\n": "a YAML file of the settings is not UTF-8 text",
    b"- a\n- b\n": "method/own.yaml: must hold lines of NAME: VALUE",
    b"hello\n": "method.hello: there is no such setting",
    b"defaults: 3\n": "Invalid defaults list in 'method/own'",
    b"defaults: [3]\n": "Unsupported type in defaults",
    b"defaults: [own]\n": "YAML files of the settings refer to each other in a circle",
    b"a: " + b"[" * 3000 + b"]" * 3000: "YAML files of the settings refer to each other in a circle, or hold",
    b"name: ${nothing}\n": "method.name: Interpolation key 'nothing' not found",
    b"name: ${\n": "a value of the settings: no viable alternative",
}


@pytest.mark.parametrize(("content", "told"), BROKEN.items(), ids=lambda value: str(value)[:20])
def test_a_broken_file_of_ones_own_is_told_in_one_line(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "method" / "own.yaml"
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        compose_settings(["method=own"], Sources(config_dir=str(tmp_path)))
    assert str(refused.value).startswith(told.replace("FILE", str(file)))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("rounds: 3\n", "experiment/own.yaml: needs the line  # @package _global_  at its top"),
        (
            "# @package _global_\ndefaults:\n  - /method: fedavg\n",
            "method: a file chooses it for a second time; its defaults list needs  - override /method: fedavg",
        ),
    ],
)
def test_what_an_experiment_of_ones_own_lacks_is_told(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(content)
    with pytest.raises(ConfigurationError) as refused:
        compose_settings(["experiment=own"], Sources(config_dir=str(tmp_path)))
    assert str(refused.value) == told


@pytest.mark.parametrize("content", ["", "gates: none\n", "aggregation: fedprox\n"])
def test_a_method_of_ones_own_that_states_no_name_has_its_files(tmp_path: Path, content: str) -> None:
    """Reports would otherwise take it for the shipped fedsq, whose name is the default."""
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "own.yaml").write_text(content)
    sources = Sources(config_dir=str(tmp_path))
    assert compose_settings(["method=own"], sources).method.name == "own"
    assert compose_settings(["method=own", "method.name=fedsq"], sources).method.name == "fedsq"


def test_a_name_that_is_nearly_an_options_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"^method=fedsq_relased: .*; did you mean fedsq_released\?$"):
        compose_settings(["method=fedsq_relased"])

"""From overrides to settings: defaults, options, and who wins over whom."""

import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import fedsq_flwr.conf
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

CONF = Path(next(iter(fedsq_flwr.conf.__path__)))
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


def values(settings: object) -> list[object]:
    found: list[object] = []
    for field in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        found += values(value) if is_dataclass(value) else [value]
    return found


def test_every_setting_has_a_value_and_the_type_that_the_schema_says() -> None:
    config = compose_settings()
    assert isinstance(config, RunSettings)
    assert MISSING not in values(config)
    assert {type(config.rounds), type(config.learning_rate), type(config.resume)} == {int, float, bool}


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


def test_a_value_given_after_a_group_wins_over_the_groups() -> None:
    config = compose_settings(["partition=iid", "partition.alpha=0.1"])
    assert (config.partition.name, config.partition.alpha) == ("iid", 0.1)
    assert config == compose_settings(["partition.alpha=0.1", "partition=iid", f"output={config.output}"])


def test_the_last_of_two_values_wins() -> None:
    assert compose_settings(["rounds=3", "rounds=4"]).rounds == 4


@pytest.fixture
def preset(tmp_path: Path) -> list[str]:
    """An experiment that sets a method, a value of another group, and a value of none."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "trial.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - override /method: fedprox\n  - override /partition: iid\n"
        "experiment: trial\nrounds: 3\nmethod:\n  mu: 0.5\nexecutor:\n  threads: 3\ndata:\n  min_held_out: 4\n",
        encoding="utf-8",
    )
    return [f"hydra.searchpath=[file://{tmp_path}]", "experiment=trial"]


def test_an_experiment_wins_over_the_defaults(preset: list[str]) -> None:
    config = compose_settings(preset)
    assert (config.experiment, config.rounds) == ("trial", 3)
    assert (config.method.name, config.method.mu, config.partition.name) == ("fedprox", 0.5, "iid")
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
    assert (config.method.name, config.method.mu, config.rounds) == ("fedsq_prox", 0.25, 7)
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


def test_a_default_stands_in_one_file_only() -> None:
    """The schema holds none, and what an option inherits it does not repeat."""
    assert set(values(RunSettings())) == {MISSING}
    plain = yaml.safe_load((CONF / "partition" / "dirichlet.yaml").read_text(encoding="utf-8"))
    for option in (CONF / "partition").glob("*.yaml"):
        derived = yaml.safe_load(option.read_text(encoding="utf-8"))
        assert derived["name"] == option.stem
        assert option.stem == "dirichlet" or [key for key in derived if key in plain] == ["name"]


def test_settings_load_without_torch() -> None:
    program = (
        "import sys; from fedsq_flwr.settings.composition import compose_settings; compose_settings(['rounds=3']);"
        "heavy = {'torch', 'flwr', 'sklearn', 'datasets'} & set(sys.modules); sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

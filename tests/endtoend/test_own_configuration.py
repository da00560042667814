"""A user's own YAML files: what a run's config.yaml says is what the silos train with.

On Ray and in real silos: a primary file in `test_simulation`, a group of one's own in `test_real_silos`.
"""

from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from fedsq_flwr.executors.grid import InProcessGrid
from fedsq_flwr.records.config import read_config
from fedsq_flwr.settings.method import FedProx
from fedsq_flwr.settings.run import RunSettings
from tests.endtoend.conftest import few_digits, read_summary

#: A small federation; what a user's files say is not among it.
SMALL = (
    *("executor=inprocess", "silos=2", "rounds=1", "validation_fraction=0.2"),
    *("backbone.weights=random", "backbone.image_size=8"),
)
FILES = {
    "my.yaml": "defaults: [config, _self_]\nlearning_rate: 0.05\nlocal_epochs: 3\n",
    "experiment/hospital.yaml": (
        "# @package _global_\n"
        "defaults:\n  - override /method: mine\n  - override /partition: iid\n"
        "learning_rate: 0.05\nlocal_epochs: 3\nbackbone:\n  head: normal\n"
    ),
    "method/mine.yaml": "name: mine\ngates: none\naggregation: fedprox\nmu: 0.5\n",
    "clinic/north.yaml": "# @package _global_\nlearning_rate: 0.05\npartition:\n  name: quantity\n  alpha: 3\n",
    "study.yaml": (
        "defaults: [config, _self_]\nmomentum: 0.5\nhydra:\n  sweeper:\n    params:\n      learning_rate: 0.05,0.02\n"
    ),
}
HOSPITAL = (
    *("method.name=mine", "method.gates=none", "method.aggregation=fedprox", "method.mu=0.5", "partition=iid"),
    *("learning_rate=0.05", "local_epochs=3", "backbone.head=normal"),
)
#: What is told of one's own files -> the same values as overrides.
ASKED = {
    "a primary file": (["--config-dir", "mine", "--config-name", "my"], ["learning_rate=0.05", "local_epochs=3"]),
    "an experiment": (["--config-dir", "mine", "experiment=hospital"], HOSPITAL),
    "a method": (["--config-dir", "mine", "method=mine"], HOSPITAL[:4]),
    "a method's value changed": (
        ["--config-dir", "mine", "method=mine", "method.mu=2"],
        [*HOSPITAL[:3], "method.mu=2"],
    ),
    "a group of one's own": (
        ["--config-dir", "mine", "+clinic=north"],
        ["learning_rate=0.05", "partition=quantity", "partition.alpha=3"],
    ),
    "a search path": (["hydra.searchpath=[file://mine]", "experiment=hospital"], HOSPITAL),
    "an absolute search path": (["hydra.searchpath=[file://{here}/mine]", "method=mine"], HOSPITAL[:4]),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one's own files, below the one that commands are started in."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
    return tmp_path / "mine"


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[RunSettings]:
    """The settings in each message to train or evaluate, as the silos receive them."""
    found: list[RunSettings] = []
    carry = InProcessGrid.send_and_receive

    def listen(self, messages, *, timeout=None):
        messages = list(messages)
        sent = [message for message in messages if message.metadata.message_type != "query"]
        found.extend(RunSettings.from_json(message.content["config"]["settings"]) for message in sent)
        return carry(self, messages, timeout=timeout)

    monkeypatch.setattr(InProcessGrid, "send_and_receive", listen)
    return found


def here(words: list[str]) -> list[str]:
    return [word.format(here=Path.cwd()) for word in words]


def config_of(directory: Path) -> RunSettings:
    return read_config(directory / "config.yaml")


def jobs_of(sweep: Path) -> list[Path]:
    """The directories of the jobs that are finished, in the order of their names."""
    return sorted(path.parent for path in sweep.glob("*/summary.json"))


def weights_of(directory: Path) -> str:
    return read_summary(directory)["weights_sha256"]


@pytest.mark.parametrize("asked", ASKED)
def test_silos_train_with_what_config_yaml_says(
    asked: str, files: Path, received: list[RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_digits(monkeypatch)
    own, same = ASKED[asked]
    assert main(["run", *here(own), *SMALL, "output=own"]) == 0
    kept = config_of(files.parent / "own")
    assert received == [kept] * 4  # two silos train and evaluate

    assert main(["run", *SMALL, *same, "output=same"]) == 0
    named = config_of(files.parent / "same")
    assert kept.changed(output=named.output, experiment=named.experiment) == named
    assert weights_of(files.parent / "own") == weights_of(files.parent / "same")

    assert main(["run", *SMALL, "output=without"]) == 0
    assert weights_of(files.parent / "own") != weights_of(files.parent / "without")


#: Everything that the shipped files choose, in one file that takes none of them.
WHOLE = """
defaults: [defaults, _self_, override hydra/job_logging: none, override hydra/hydra_logging: none]
learning_rate: 0.05
data: {name: digits}
backbone: {name: resnet20}
partition: {name: iid}
method: {name: mine, gates: none, aggregation: fedprox, mu: 0.5}
executor: {name: inprocess}
hydra: {run: {dir: "${output}"}}
"""


def test_a_folder_may_take_the_place_of_the_shipped_one(
    files: Path, received: list[RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_digits(monkeypatch)
    (files / "whole.yaml").write_text(WHOLE)
    assert main(["run", "--config-path", "mine", "--config-name", "whole", *SMALL[1:], "output=own"]) == 0
    assert main(["run", *SMALL, *HOSPITAL[:-2], "output=same"]) == 0
    kept, named = config_of(files.parent / "own"), config_of(files.parent / "same")
    assert received[:4] == [kept] * 4
    assert kept.experiment == "none"
    assert kept.changed(experiment=named.experiment, output=named.output, cache_dir=named.cache_dir) == named
    assert weights_of(files.parent / "own") == weights_of(files.parent / "same")


def test_an_experiment_of_ones_own_is_called_by_its_file(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_digits(monkeypatch)
    assert main(["run", "--config-dir", "mine", "experiment=hospital", *SMALL, "output=own"]) == 0
    assert config_of(files.parent / "own").experiment == "hospital"
    assert read_summary(files.parent / "own")["method"] == "mine"


def test_the_command_line_wins_over_ones_own_files(
    files: Path, received: list[RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_digits(monkeypatch)
    words = ["experiment=hospital", "learning_rate=0.03", "method.mu=0.25"]
    assert main(["run", "--config-dir", "mine", *words, *SMALL, "output=own"]) == 0
    found = {(s.learning_rate, s.local_epochs, s.partition.name, s.method.averaging) for s in received}
    assert found == {(0.03, 3, "iid", FedProx(mu=0.25))}


def test_a_resumed_run_is_held_to_what_ones_own_files_said(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few_digits(monkeypatch)
    run = ["run", "--config-dir", "mine", "experiment=hospital", *SMALL, "output=own"]
    assert main(run) == 0
    assert main([*run, "rounds=2", "resume=true"]) == 0
    (files / "method/mine.yaml").write_text(FILES["method/mine.yaml"].replace("0.5", "0.75"))
    assert main([*run, "rounds=3", "resume=true"]) == 1
    assert "method.mu: differs from the run" in capsys.readouterr().err


def test_a_sweep_takes_ones_own_files_for_every_job(
    files: Path, received: list[RunSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_digits(monkeypatch)
    sweep = ["run", "-m", "--config-dir", "mine", "method=mine,fedsq", "+clinic=north", "seed=0,1", *SMALL]
    assert main([*sweep, "hydra.sweep.dir=jobs"]) == 0
    jobs = jobs_of(files.parent / "jobs")
    kept = [config_of(job) for job in jobs]
    assert [(s.method.name, s.seed) for s in kept] == [("fedsq", 0), ("fedsq", 1), ("mine", 0), ("mine", 1)]
    assert {(s.learning_rate, s.partition.name) for s in kept} == {(0.05, "quantity")}
    assert sorted(received, key=str) == sorted(4 * kept, key=str)
    assert main(["run", "--config-dir", "mine", "+clinic=north", "method=mine", *SMALL, "output=alone"]) == 0
    assert weights_of(files.parent / "alone") == weights_of(jobs[2])
    assert main([*sweep, "hydra.sweep.dir=jobs"]) == 0
    assert len(received) == 4 * 5  # all jobs were there already


def test_a_primary_file_of_ones_own_may_hold_the_sweep(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few_digits(monkeypatch)
    study = ["--config-dir", "mine", "--config-name", "study", *SMALL, "output=jobs"]
    assert main(["run", "-m", *study]) == 0
    kept = [config_of(path) for path in jobs_of(files.parent / "jobs")]
    assert [(s.learning_rate, s.momentum) for s in kept] == [(0.02, 0.5), (0.05, 0.5)]
    first = capsys.readouterr().out.splitlines()[0]
    (files / "study.yaml").write_text(f"{FILES['study.yaml']}  mode: MULTIRUN\n")
    assert main(["run", *study]) == 0
    assert capsys.readouterr().out.splitlines()[0] == first == "2 jobs into jobs"
    assert main(["run", "--cfg", "job", *study]) == 0
    assert "momentum: 0.5" in capsys.readouterr().out.splitlines()


def test_where_a_sweep_lies_may_be_said_in_both_ways(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_digits(monkeypatch)
    for place, words in (("a", ["output=a"]), ("b", ["hydra.sweep.dir=b"]), ("c", ["output=c", "hydra.sweep.dir=b"])):
        assert main(["run", "-m", "seed=0", *SMALL, *words]) == 0
        assert len(jobs_of(files.parent / ("b" if place == "c" else place))) == 1
    assert not (files.parent / "c").exists()


SHADOWS = ["config.yaml", "experiment/digits.yaml", "method/fedsq.yaml", "partition/iid.yaml", "data/cifar10.yaml"]


@pytest.mark.parametrize("way", [["--config-dir", "mine"], ["hydra.searchpath=[file://mine]"]], ids=lambda w: w[0])
@pytest.mark.parametrize("name", SHADOWS)
def test_a_file_with_a_shipped_name_is_refused_by_its_name(
    name: str, way: list[str], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / name).parent.mkdir(exist_ok=True)
    (files / name).write_text("learning_rate: 0.7\n")
    for mode in ([], ["-m", "seed=0,1"], ["--cfg", "job"]):
        assert main(["run", *mode, *way, *SMALL, "output=own"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("fedsq: ")
        assert line.endswith(f"mine/{name}: has the name of the shipped conf/{name}; give it another name")
    assert not (files.parent / "own").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--config-dir", "nowhere"], "--config-dir=nowhere: there is no such folder"),
        (["--config-dir", "mine", "--config-name", "nope"], "Cannot find primary config 'nope'"),
        (["--config-dir", "mine", "experiment=clinic"], "experiment=clinic: allowed are cifar10_halves, "),
        (["--config-dir", "mine", "+clinic=south"], "clinic=south: allowed are north"),
        (["experiment=hospital"], "experiment=hospital: allowed are cifar10_halves, "),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_files_that_are_not_there_are_one_line(
    words: list[str], line: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *words, *SMALL, "output=own"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fedsq: {line}")
    assert error.count("\n") == 1


def test_mistakes_in_ones_own_files_are_told_as_those_of_the_command_line(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mistakes = {
        "rouns: 3": "rouns: there is no such setting; did you mean rounds?",
        "learning_rate: fast": "learning_rate=fast: must be a number",
        "participation: 0.5": "participation: is called fraction_train since version 0.2",
        "method: {mu: 0}": "",  # of another variant, as presets may be for several methods
        "method: {gates: some}": "method.gates=some: allowed are none, pretrained, random",
    }
    for text, line in mistakes.items():
        (files / "my.yaml").write_text(f"defaults: [config, _self_]\n{text}\n")
        status = main(["run", "--config-dir", "mine", "--config-name", "my", "--cfg", "job"])
        error = capsys.readouterr().err
        assert (status, error) == ((1, f"fedsq: {line}\n") if line else (0, ""))


def test_other_commands_take_them_too(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["partition", "--config-dir", "mine", "+clinic=north", "silos=3"]) == 0
    assert "alpha 3" in capsys.readouterr().out
    assert main(["partition", "-m", "silos=3"]) == 1
    assert capsys.readouterr().err == "fedsq: -m: there is no such option; settings are given as NAME=VALUE\n"

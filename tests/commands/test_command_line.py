"""The command line itself: its help, its version, and what it says after Ctrl-C."""

import shlex
from pathlib import Path

import pytest
import yaml

from fedsq_flwr import __version__
from fedsq_flwr.cli import main
from fedsq_flwr.commands.hydra_main import parse_overrides
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.fields import catalogue
from fedsq_flwr.settings.run import RunSettings
from fedsq_flwr.settings.silo import SiloSettings

TAKE_OVERRIDES = ("run", "calibrate", "rehearse", "partition")


def test_without_a_command_the_help_is_shown_and_nothing_was_done(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: fedsq ")
    assert all(f"\n    {command} " in err for command in ("run", "report", "silo"))


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"fedsq {__version__}\n")


def test_an_option_without_a_command_is_refused(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--nope"])
    assert left.value.code == 2
    assert "unrecognized arguments: --nope" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rounds", "2"], "fedsq: --rounds: must be rounds=VALUE, without a dash\n"),
        (["-method", "fedsq"], "fedsq: -method: must be method=VALUE, without a dash\n"),
        (["--learning_rate=3"], "fedsq: --learning_rate=3: must be learning_rate=VALUE, without a dash\n"),
        (["--foo"], "fedsq: unrecognized arguments: --foo\n"),
    ],
)
def test_a_setting_that_is_written_as_an_option_is_told_in_one_line(words, told, capsys):
    assert main(["run", *words]) == 1
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("command", TAKE_OVERRIDES)
def test_the_usage_says_where_overrides_go(command, capsys):
    if command == "run":
        assert main([command, "--help"]) == 0
    else:
        with pytest.raises(SystemExit):
            main([command, "--help"])
    usage = capsys.readouterr().out.partition("\n\n")[0]
    assert usage.startswith(f"usage: fedsq {command} ")
    assert usage.endswith("[OVERRIDE ...]")


def test_the_help_of_a_silo_lists_all_its_settings_in_eighty_columns(capsys):
    with pytest.raises(SystemExit) as done:
        main(["silo", "--help"])
    told = capsys.readouterr().out
    assert done.value.code == 0
    assert told.startswith("usage: fedsq silo ")
    assert {f"  {name}=" for name in catalogue(SiloSettings)} <= {
        line.partition("=")[0] + "=" for line in told.split("\n")
    }
    assert max(map(len, told.splitlines())) <= 80


@pytest.fixture
def interrupted(tmp_path, monkeypatch, capsys):
    """Give the words of the command that is printed after Ctrl-C, which comes as soon as the work begins."""

    def work(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    for begin in ("job.run_job", "commands.rehearse.lay_out_data", "commands.sweep.sweep_by_hydra"):
        monkeypatch.setattr(f"fedsq_flwr.{begin}", work)

    def run(*words: str) -> list[str]:
        assert main(words) == 130
        told = capsys.readouterr().err.splitlines()
        if told[-1] == "fedsq: interrupted":
            return []
        assert told[-2] == "fedsq: interrupted; finished rounds are kept, and this command goes on:"
        program, *following = shlex.split(told[-1])
        assert program == "fedsq"
        return following

    return run


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["run"], ()),
        (["run"], ("output=here", "resume=false", "seed=3")),
        (["run"], ("output='it\\'s; $HOME'", "data.classes=['1', \"a'b\"]")),
        (["rehearse", "2"], ("output='a b'", "method=fedavg")),
    ],
    ids=str,
)
def test_the_command_that_goes_on_resumes_the_same_run(interrupted, command, words):
    following = interrupted(*command, *words)
    assert following[: len(command)] == command
    given, resumed = compose_settings(words), compose_settings(following[len(command) :])
    assert resumed.resume
    assert "output=here" not in words or resumed.output == "here"
    assert resumed.changed(resume=False, output="x") == given.changed(resume=False, output="x")
    assert Path(resumed.output).is_dir()


def test_the_command_that_goes_on_has_the_same_sources(interrupted, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.yaml").write_text("defaults: [config, _self_]\nrounds: 7\n")
    _, *following = interrupted("run", "--config-dir", "mine", "seed=1", "--config-name", "study")
    assert compose_settings(*parse_overrides(following)).rounds == 7


def test_hydras_name_of_the_output_goes_on_too(interrupted):
    following = interrupted("run", "hydra.run.dir=runs/${seed}", "seed=4")
    assert following == ["run", "seed=4", "output=runs/4", "resume=true"]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "-m", "seed=0,1", "method=fedsq,fedavg"],
        ["run", "hydra.mode=MULTIRUN", "output='a b'"],
        ["calibrate", "--methods", "fedsq", "--output", "chosen.yaml", "learning_rate=0.1,0.2"],
    ],
    ids=" ".join,
)
def test_the_same_sweep_goes_on(interrupted, words):
    assert interrupted(*words) == words


@pytest.mark.parametrize("command", [["run"], ["rehearse", "2"]], ids=" ".join)
def test_what_cannot_be_resumed_names_no_command(interrupted, command):
    assert interrupted(*command, "batch_norm=local") == []


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["seed=4", "method=fedavg", "output=here"], "here"),
        (["seed=4", "experiment=paper/alexnet_cifar100_iid", "backbone.weights=random", "output=here"], "here"),
        (["seed=4", "hydra.run.dir=runs/${seed}"], "runs/4"),
    ],
    ids=str,
)
def test_cfg_job_shows_what_would_run_and_runs_nothing(words, output, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDSQ_DATA", raising=False)  # it may be relative to another folder
    assert main(["run", "--cfg", "job", *words]) == 0
    shown = RunSettings.parse(yaml.safe_load(capsys.readouterr().out))
    assert shown == compose_settings(words).changed(output=output)
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_the_choices_that_a_users_files_add(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file in ("experiment/hospital", "clinic/north", "hydra/launcher/mine", "study"):
        (tmp_path / "mine" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / f"{file}.yaml").write_text("defaults: [config, _self_]\n" * (file == "study"))
    for words in (["--config-dir", "mine"], ["hydra.searchpath=[file://mine]", "method=nope"]):
        assert main(["run", "--help", *words]) == 0
        told = capsys.readouterr().out.partition("Choices of your own:\n")[2].partition("\n\n")[0]
        assert [line.split() for line in told.splitlines()] == [
            ["+clinic", "north"],
            ["experiment", "hospital"],
            ["hydra/launcher", "mine"],
            ["primary", "--config-name", "study"],
        ]

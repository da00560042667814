"""Trackers beside whole runs."""

import pytest

from fedsq_flwr.trackers import registry
from tests.endtoend.conftest import read_history, read_summary
from tests.endtoend.test_inprocess import timeless
from tests.trackers.fakes import Recorder


@pytest.fixture
def trackers(monkeypatch) -> dict[str, Recorder]:
    made = {"tensorboard": Recorder(), "mlflow": Recorder(failing=("round",))}
    monkeypatch.setattr(registry, "TRACKERS", {name: lambda _, name=name: made[name] for name in made})
    return made


def test_a_run_tells_its_trackers_and_its_numbers_are_the_same(run, trackers, capsys) -> None:
    tracked, plain = run("trackers=[tensorboard,mlflow]", name="tracked"), run(name="plain")
    lines = read_history(tracked)
    assert trackers["tensorboard"].calls == [
        ("start", "tracked", "fedsq", None),
        *(("round", line["round"], line["accuracy"]) for line in lines),
        ("finish", read_summary(tracked)["best_accuracy"]),
    ]
    assert timeless(lines) == timeless(read_history(plain))
    assert read_summary(tracked)["weights_sha256"] == read_summary(plain)["weights_sha256"]
    assert not (plain / "trackers.json").exists()
    assert capsys.readouterr().out.count("the tracker mlflow failed and is told nothing more: OSError") == 1
    assert "the tracker mlflow failed" in (tracked / "run.log").read_text()


def test_a_resumed_run_may_have_other_trackers_and_tells_them_all_rounds(run, trackers) -> None:
    run("rounds=1")
    run("rounds=2", "resume=true", "trackers=[tensorboard]")
    assert [call[0] for call in trackers["tensorboard"].calls] == ["start", "round", "round", "finish"]


def test_a_run_that_fails_is_told_as_failed(run, trackers) -> None:
    run("trackers=[tensorboard]", "learning_rate=1e30", "method=fedavg", status=1)
    assert trackers["tensorboard"].calls[-1] == ("fail", "failed")

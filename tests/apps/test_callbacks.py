"""What happens after each round and after the last, and the parts that a run may be given."""

import json
from pathlib import Path

import pytest

from fedsq_flwr import server_app
from fedsq_flwr.apps.callbacks import Callback, Diagnose, Keep, Report
from fedsq_flwr.assembly import parts as parts_room
from fedsq_flwr.assembly.parts import load_parts
from fedsq_flwr.executors.inprocess import run_inprocess
from fedsq_flwr.federation.rounds import Round
from fedsq_flwr.files import plain as plain_of
from fedsq_flwr.records.history import History, Line
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings

SMALL = (
    *("executor=inprocess", "executor.workers=1", "silos=3", "rounds=2", "data.limit=300", "validation_fraction=0.2"),
    *("backbone.weights=random", "backbone.image_size=8", "partition.alpha=5", "learning_rate=0.02"),
)


def settings_of(output: Path, *overrides: str) -> RunSettings:
    return compose_settings([*SMALL, f"output={output}", *overrides])


def test_a_run_is_kept_told_and_reported(tmp_path: Path) -> None:
    told: list[Line] = []
    run_inprocess(settings_of(tmp_path / "run"), told.append)
    assert History(tmp_path / "run" / "history.jsonl").read() == told
    assert [line.round for line in told] == [1, 2]
    assert not any(line.diagnostics for line in told)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["rounds_to_best"] in (1, 2)
    assert (tmp_path / "run" / "report.html").is_file()


def test_diagnostics_are_in_the_lines_that_are_kept_and_told(tmp_path: Path) -> None:
    told: list[Line] = []
    run_inprocess(settings_of(tmp_path / "run", "diagnostics=true", "diagnostics_size=8"), told.append)
    assert [line.diagnostics.images for line in told if line.diagnostics] == [8, 8]


def test_with_parts_that_were_loaded_before_nothing_is_loaded_again(tmp_path: Path, monkeypatch) -> None:
    """And the numbers are those of a run that loads its parts itself; the parts serve another run."""
    plain: list[Line] = []
    run_inprocess(settings_of(tmp_path / "run-0"), plain.append)
    parts = load_parts(settings_of(tmp_path / "run-1"))

    def load(*_):
        raise AssertionError("loaded again")

    for name in ("load_server_data", "load_start"):
        monkeypatch.setattr(parts_room, name, load)
    monkeypatch.setattr(server_app, "load_parts", load)
    monkeypatch.setattr("fedsq_flwr.apps.silo_service.load_task", load)
    for number in (1, 2):
        given: list[Line] = []
        run_inprocess(settings_of(tmp_path / f"run-{number}"), given.append, parts)
        assert [numbers(line) for line in given] == [numbers(line) for line in plain]


def numbers(line: Line) -> dict[str, object]:
    return {name: value for name, value in plain_of(line).items() if "seconds" not in name}


class Calls:
    """Stands for what callbacks work on, and notes how it is called."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def examine(self, *given):
        self.calls.append(("examine", *given))
        return "diagnosed"


@pytest.fixture
def finished() -> Round:
    from flwr.app import ArrayRecord

    from fedsq_flwr.federation.exchange import Exchange

    start, arrays = ArrayRecord(), ArrayRecord()
    return Round(1, arrays, Exchange(), Exchange(), {}, 0, 0, 0.1, start=start, replies=["a", "b"])


def test_what_a_callback_adds_to_a_round_is_there_for_the_next(finished: Round) -> None:
    calls = Calls()
    Diagnose(calls).after_round(finished)
    assert calls.calls == [("examine", finished.start, finished.arrays, ["a", "b"])]
    assert finished.diagnostics == "diagnosed"


@pytest.mark.parametrize("kind", [Diagnose, Keep, Report])
def test_a_callback_overrides_what_it_needs_and_no_more(kind) -> None:
    assert issubclass(kind, Callback)
    own = {name for name in vars(kind) if not name.startswith("_")}
    assert own
    assert own <= {"after_round", "after_run"}

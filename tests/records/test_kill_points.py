"""A run that is killed between any two writes is resumed with equal numbers; a toy run, in forked children."""

import os
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsq_flwr.records import RunDirectory
from fedsq_flwr.records.lock import hold, hold_as_server
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.run import RunSettings
from scripts.soak.kill_points import died_at
from tests.records.made import history_of
from tests.records.test_directory import MODEL, TASK, round_of

ROUNDS = 3
#: Of the changes of a directory, each third: a write is of two, three or four. `scripts.soak.kills` draws from all.
EVERY = 3
START = torch.arange(3.0)


def run(settings: RunSettings) -> None:
    """Run rounds that depend on the model, the structure and the server's memory of the round before."""
    directory = RunDirectory(settings.output)
    with hold(directory.path), hold_as_server(directory.path):
        start = directory.open(settings, TASK)
        state = START if start.state is None else start.state["w"]
        memory = torch.zeros(3) if start.server is None else start.server["m"]
        structure: dict[str, Tensor] | None = start.structure
        for number in range(start.round, ROUNDS + 1):
            memory = 0.5 * memory + state
            state = state - 0.25 * memory
            if number == 2:
                structure = {"s": state.clone()}
            finished = round_of(number)
            finished.fingerprint = "" if structure is None else 64 * "a"
            directory.keep(finished, {"w": state}, structure, {"m": memory})
        directory.finish(settings, TASK, MODEL, {})


def outcome(directory: Path) -> dict[str, object]:
    """What must be equal: history, summary and both checkpoints, and that nothing is left beside them."""
    checkpoints = RunDirectory(directory).checkpoints
    summary = read_summary(directory).model_dump()
    summary["wall_seconds"] = summary["provenance"]["date"] = None
    return {
        "history": [line.model_dump() for line in history_of(directory)],
        "summary": summary,
        "states": [checkpoints.load(name)[0]["w"].tolist() for name in ("last", "best")],
        "structures": [checkpoints.load_structure(name)["s"].tolist() for name in ("last", "best")],
        "server": checkpoints.load_server("last")["m"].tolist(),
        "files": sorted(str(path.relative_to(directory)) for path in directory.rglob("*")),
    }


@pytest.fixture(scope="module")
def settings() -> RunSettings:
    words = ["rounds=3", "silos=2", "backbone.mean=[0.5]", "backbone.std=[0.5]", "backbone.weights=random"]
    return compose_settings([*words, "method=fedavg"])


def test_a_run_that_is_killed_between_any_two_writes_goes_on_with_equal_numbers(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power fails here
    whole = settings.changed(output=str(tmp_path / "whole"))
    Path(whole.output).mkdir()
    run(whole)
    expected = outcome(Path(whole.output))
    point, died = 0, True
    while died:
        point += EVERY
        broken = settings.changed(output=str(tmp_path / f"killed-{point}"))
        place = Path(broken.output)
        place.mkdir()
        died = died_at(point, place, partial(run, broken))
        resumed = broken.changed(resume=True)
        if point % 2 == 0:  # killed again, soon after it was resumed
            died_at(20, place, partial(run, resumed))
        run(resumed)
        assert outcome(place) == expected, f"killed before change {point}"
    assert point > 40

"""Finding runs: all of them, and those that went wrong with what is known of them."""

import shutil

import pytest

from fedsq_flwr.errors import DataError
from fedsq_flwr.report.comparison.collecting import State, collect


def test_runs_at_any_depth_are_found_once_and_not_looked_into(sweep):
    sweep.add("a/b/seed=0")
    inner = sweep.add("seed=1", seed=1)
    shutil.copytree(inner, inner / "checkpoints" / "copy")
    entries = collect([sweep.directory])
    assert [entry.name for entry in entries] == ["a/b/seed=0", "seed=1"]
    assert {entry.state for entry in entries} == {State.FINISHED}
    assert len(collect([sweep.directory, inner])) == 2


def test_every_way_to_go_wrong_is_told(sweep):
    (sweep.add("1") / "history.jsonl").write_text("rubbish\nmore\n")
    files = sweep.files("2", accuracies=(0.5, 0.6, 0.7, 0.8))
    files.stop_after(2)
    (files.write() / "failure.json").write_text('{"error": "round 3: no usable reply"}')
    (sweep.directory / "3").mkdir()
    (sweep.directory / "3" / "failure.json").write_text('{"error": "no such weights"}')
    files = sweep.files("4", accuracies=(0.5, 0.6, 0.7, 0.8))
    files.stop_after(3)
    files.write()
    begun = sweep.add("5")
    for path in begun.iterdir():
        if path.name != "config.yaml":
            path.unlink()
    (begun / ".hydra").mkdir()
    (begun / "config.yaml").rename(begun / ".hydra" / "config.yaml")
    (sweep.add("6") / "config.yaml").write_text("a: [")
    told = [(entry.name, entry.state, entry.problem) for entry in collect([sweep.directory])]
    assert told[0][1] is State.UNREADABLE
    assert told[0][2].startswith("history.jsonl, line 1: not JSON")
    assert told[1:5] == [
        ("2", State.FAILED, "round 3: no usable reply"),
        ("3", State.FAILED, "no such weights"),
        ("4", State.UNFINISHED, "3 of 4 rounds are recorded"),
        ("5", State.UNFINISHED, "no round is recorded"),
    ]
    assert told[5][1] is State.UNREADABLE
    assert "config.yaml: cannot be read as settings" in told[5][2]


def test_a_directory_without_a_run_is_one_clear_line(tmp_path):
    with pytest.raises(DataError, match="no run is in or below it"):
        collect([tmp_path])
    with pytest.raises(DataError, match="there is no such directory"):
        collect([tmp_path / "nothing"])

"""A run of version 0.1 is read, shown, compared, and known by a sweep."""

import json
import shutil
from pathlib import Path

import pytest

from fedsq_flwr.files import plain, read_as
from fedsq_flwr.records.config import read_config
from fedsq_flwr.records.history import line_text
from fedsq_flwr.records.status import RunStatus, run_status
from fedsq_flwr.records.summary import read_summary
from fedsq_flwr.report import read_run, write_report
from fedsq_flwr.report.comparison import collect, compare
from fedsq_flwr.settings.partition_file import PartitionFile
from tests.records.made import history_of


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return shutil.copytree(Path(__file__).parent / "older" / "run", tmp_path / "run")


def test_its_files_hold_what_they_held(older: Path) -> None:
    assert [line_text(line) for line in history_of(older)] == (older / "history.jsonl").read_text().splitlines()
    assert plain(read_summary(older)) == json.loads((older / "summary.json").read_text())
    partition = read_as(PartitionFile, older / "partition.json")
    assert plain(partition) == json.loads((older / "partition.json").read_text())
    assert read_config(older / "config.yaml").fraction_train == 1.0


def test_it_has_a_page_and_is_compared(older: Path) -> None:
    run = read_run(older)
    assert (run.finished, run.notes, run.best_round) == (True, (), 2)
    assert "13.2 MB up to the server" in write_report(older).read_text()
    (section,) = compare(collect([older])).sections
    assert [row.n for row in section.rows] == [1]


def test_a_sweep_knows_that_it_is_finished(older: Path) -> None:
    assert run_status(older, read_config(older / "config.yaml")) is RunStatus.FINISHED

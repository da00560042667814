import json
import math

import pytest

from fedsq_flwr.errors import DataError
from fedsq_flwr.records.history import History


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history.jsonl")


def test_rounds_are_appended_and_read_back(history):
    assert history.read() == []
    history.append({"round": 1, "loss": 0.5})
    first = history.path.read_bytes()
    history.append({"round": 2, "loss": 0.25})
    assert history.path.read_bytes().startswith(first)
    assert [line["round"] for line in history.read()] == [1, 2]


def test_values_that_are_not_finite_become_null_so_that_any_program_can_read_it(history):
    history.append({"round": 1, "loss": math.nan, "nested": {"a": [math.inf, 1.0]}})
    assert json.loads(history.path.read_text()) == {"round": 1, "loss": None, "nested": {"a": [None, 1.0]}}


def test_a_half_written_last_line_is_not_a_round(history):
    history.append({"round": 1})
    with history.path.open("a") as file:
        file.write('{"round": 2, "lo')
    assert history.read() == [{"round": 1}]


def test_a_broken_line_is_named(history):
    history.path.write_text('{"round": 1}\nnonsense\n')
    with pytest.raises(DataError, match=r"history\.jsonl line 2 is not JSON"):
        history.read()


def test_repair_cuts_a_half_written_line_and_adds_the_round_of_the_checkpoint(history):
    history.append({"round": 1})
    with history.path.open("a") as file:
        file.write('{"round": 2, "lo')
    history.repair({"round": 2, "loss": 0.1})
    assert history.read() == [{"round": 1}, {"round": 2, "loss": 0.1}]
    history.repair({"round": 2, "loss": 0.1})
    assert len(history.read()) == 2


def test_a_checkpoint_older_than_the_history_is_refused(history):
    history.append({"round": 3})
    with pytest.raises(DataError, match="holds round 3, but the checkpoint to resume from is of round 2"):
        history.repair({"round": 2})

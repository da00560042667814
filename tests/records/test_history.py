import json
import math

import pytest

from fedsq_flwr.errors import DataError
from fedsq_flwr.records.history import History, best_line
from tests.records.made import line


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history.jsonl")


def numbers(history):
    return [each.round for each in history.read()]


def test_rounds_are_appended_and_read_back(history):
    assert history.read() == []
    history.append(line(1))
    first = history.path.read_bytes()
    history.append(line(2, loss=0.25))
    assert history.path.read_bytes().startswith(first)
    assert history.read() == [line(1), line(2, loss=0.25)]
    assert history.finished() == 2


def test_a_line_holds_what_it_was_given_under_the_names_that_are_promised(history):
    history.append(line(1, silo_accuracies={10: 0.5, 9: None}, dropped=[{"silo": 3, "reason": "x", "while": "y"}]))
    told = json.loads(history.path.read_text())
    promised = ["round", "train_loss", "loss", "accuracy", "test_accuracy", "seconds", "replies"]
    assert list(told) == [*promised, "dropped", "silo_accuracies"]
    assert told["dropped"] == [{"silo": 3, "reason": "x", "while": "y"}]
    assert told["silo_accuracies"] == {"9": None, "10": 0.5}
    assert history.read()[0].accuracies == {10: 0.5}


def test_values_that_are_not_finite_become_null_so_that_any_program_can_read_it(history):
    history.append(line(1, loss=math.nan, exchange_seconds={"train": math.inf}, silo_accuracies={0: math.nan}))
    told = json.loads(history.path.read_text())
    assert (told["loss"], told["exchange_seconds"], told["silo_accuracies"]) == (None, {"train": None}, {"0": None})


def test_a_half_written_last_line_is_not_a_round(history):
    history.append(line(1))
    assert not history.is_cut_short()
    with history.path.open("a") as file:
        file.write('{"round": 2, "lo')
    assert numbers(history) == [1]
    assert history.is_cut_short()


def test_a_broken_line_is_named(history):
    history.append(line(1))
    with history.path.open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(DataError, match=r"history\.jsonl, line 2: not JSON"):
        history.read()


def test_fields_of_a_later_version_are_passed_over(history):
    history.append(line(1))
    history.path.write_text(history.path.read_text().replace("{", '{"later": [{"a": 1}], ', 1))
    assert history.read() == [line(1)]


def test_a_round_that_is_there_twice_counts_as_it_was_last(history):
    for each in (line(1), line(2), line(2, accuracy=0.75)):
        history.append(each)
    assert history.read() == [line(1), line(2, accuracy=0.75)]


def test_the_best_round_is_the_first_of_the_best_that_were_measured():
    lines = [line(1, accuracy=None), line(2), line(3, accuracy=math.nan), line(4)]
    assert best_line(lines, "accuracy").round == 2
    assert best_line(lines[:1], "accuracy").round == 1


def test_repair_cuts_a_half_written_line_and_adds_the_round_of_the_checkpoint(history):
    history.append(line(1))
    with history.path.open("a") as file:
        file.write('{"round": 2, "lo')
    history.repair(line(2, loss=0.1))
    assert history.read() == [line(1), line(2, loss=0.1)]
    before = history.path.read_bytes()
    history.repair(line(2, loss=0.1))
    assert history.path.read_bytes() == before


@pytest.mark.parametrize(("kept", "of_checkpoint"), [(3, 2), (3, 5), (0, 2)])
def test_a_checkpoint_of_another_round_than_the_last_is_refused(history, kept, of_checkpoint):
    for number in range(1, kept + 1):
        history.append(line(number))
    told = f"holds round {kept}, but the checkpoint to resume from is of round {of_checkpoint}"
    with pytest.raises(DataError, match=told):
        history.repair(line(of_checkpoint))

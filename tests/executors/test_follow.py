import json
from pathlib import Path

import pytest

from fedsq_flwr.errors import DataError
from fedsq_flwr.executors.follow import JsonLinesFollower
from fedsq_flwr.records.history import line_text
from tests.records.made import line


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def append(path: Path, *rounds: int, half: str = "") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(line_text(line(number)) + "\n" for number in rounds) + half)


def read(follower: JsonLinesFollower) -> list[int]:
    return [each.round for each in follower.read()]


def test_a_file_that_appears_later(history: Path) -> None:
    follower = JsonLinesFollower(history)
    assert follower.read() == []
    append(history, 1, 2)
    assert follower.read() == [line(1), line(2)]
    assert follower.read() == []


def test_lines_of_an_earlier_run_are_skipped(history: Path) -> None:
    append(history, 1, 2)
    follower = JsonLinesFollower(history)
    assert follower.read() == []
    append(history, 3)
    assert read(follower) == [3]


def test_a_line_comes_out_only_when_it_is_whole(history: Path) -> None:
    follower = JsonLinesFollower(history)
    told = line(1, dropped=[{"silo": 1, "reason": "größer"}])
    text = json.dumps(json.loads(line_text(told)), ensure_ascii=False).encode() + b"\n"
    seen = []
    for byte in text:  # one byte at a time, so that a cut falls inside each character too
        with history.open("ab") as file:
            file.write(bytes([byte]))
        seen.append(follower.read())
    assert seen[:-1] == [[]] * (len(text) - 1)
    assert seen[-1] == [told]


def test_half_a_line_left_by_a_dead_writer_may_be_cut_off(history: Path) -> None:
    append(history, 1, half='{"rou')
    follower = JsonLinesFollower(history)
    assert follower.read() == []
    with history.open("r+b") as file:  # as a resumed run repairs its history
        file.truncate(history.read_bytes().rfind(b"\n") + 1)
    assert follower.read() == []
    append(history, 2)
    assert read(follower) == [2]


@pytest.mark.parametrize("longer", [False, True])
def test_a_file_written_anew_is_read_from_its_beginning(history: Path, longer: bool) -> None:
    append(history, 1, 2)
    follower = JsonLinesFollower(history)
    fresh = history.with_suffix(".new")
    rounds = list(range(5, 14 if longer else 6))
    append(fresh, *rounds)
    fresh.replace(history)
    assert read(follower) == rounds


def test_a_file_cut_short_is_read_from_its_beginning(history: Path) -> None:
    append(history, 1, 2)
    follower = JsonLinesFollower(history)
    history.write_text("")
    assert follower.read() == []
    append(history, 1)
    assert read(follower) == [1]


@pytest.mark.parametrize("damaged", ["nonsense", "[1]", '{"round": ', '{"round": 1}'])
def test_a_complete_line_that_is_no_round_names_the_file(history: Path, damaged: str) -> None:
    follower = JsonLinesFollower(history)
    append(history, half=damaged + "\n")
    with pytest.raises(DataError, match=r"history\.jsonl, a new line: ") as caught:
        follower.read()
    assert "\n" not in str(caught.value)

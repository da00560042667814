import json
from pathlib import Path

import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.follow import JsonLinesFollower


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_file_that_appears_later(history: Path) -> None:
    follower = JsonLinesFollower(history)
    assert follower.read() == []
    append(history, '{"round": 1}\n{"round": 2}\n')
    assert follower.read() == [{"round": 1}, {"round": 2}]
    assert follower.read() == []


def test_lines_of_an_earlier_run_are_skipped(history: Path) -> None:
    append(history, '{"round": 1}\n{"round": 2}\n')
    follower = JsonLinesFollower(history)
    assert follower.read() == []
    append(history, '{"round": 3}\n')
    assert follower.read() == [{"round": 3}]


def test_a_line_comes_out_only_when_it_is_whole(history: Path) -> None:
    follower = JsonLinesFollower(history)
    line = json.dumps({"round": 1, "note": "größer"}, ensure_ascii=False).encode() + b"\n"
    seen = []
    for byte in line:  # one byte at a time, so that a cut falls inside each character too
        with history.open("ab") as file:
            file.write(bytes([byte]))
        seen.append(follower.read())
    assert seen[:-1] == [[]] * (len(line) - 1)
    assert seen[-1] == [{"round": 1, "note": "größer"}]


def test_half_a_line_left_by_a_dead_writer_may_be_cut_off(history: Path) -> None:
    append(history, '{"round": 1}\n{"rou')
    follower = JsonLinesFollower(history)
    assert follower.read() == []
    with history.open("r+b") as file:  # as a resumed run repairs its history
        file.truncate(len('{"round": 1}\n'))
    assert follower.read() == []
    append(history, '{"round": 2}\n')
    assert follower.read() == [{"round": 2}]


@pytest.mark.parametrize("longer", [False, True])
def test_a_file_written_anew_is_read_from_its_beginning(history: Path, longer: bool) -> None:
    append(history, '{"round": 1}\n{"round": 2}\n')
    follower = JsonLinesFollower(history)
    fresh = history.with_suffix(".new")
    append(fresh, '{"round": 1, "second": true}\n' * (9 if longer else 1))
    fresh.replace(history)
    assert follower.read() == [{"round": 1, "second": True}] * (9 if longer else 1)


def test_a_file_cut_short_is_read_from_its_beginning(history: Path) -> None:
    append(history, '{"round": 1}\n{"round": 2}\n')
    follower = JsonLinesFollower(history)
    history.write_text("")
    assert follower.read() == []
    append(history, '{"round": 1}\n')
    assert follower.read() == [{"round": 1}]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"round": '])
def test_a_complete_line_that_is_no_object_names_the_file(history: Path, line: str) -> None:
    follower = JsonLinesFollower(history)
    append(history, line + "\n")
    with pytest.raises(RunFailedError, match=r"history\.jsonl: not a JSON object"):
        follower.read()

"""Every error for a person is one line, whatever the values and names in it are."""

import pytest

from fedsq_flwr.errors import FedSQError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("rounds=0: must be at least 1", "rounds=0: must be at least 1"),
        ("first\n   second\r\n\tthird\n", "first second third"),
        ("a  name  with two blanks", "a  name  with two blanks"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("right\u202eleft\u2028next\0", "right left next"),
        ("\udcff", ""),
    ],
)
def test_what_could_steer_a_terminal_or_a_log_becomes_a_blank(message: str, line: str) -> None:
    assert str(FedSQError(message)) == line


def test_the_middle_of_what_is_too_long_is_left_out() -> None:
    line = str(FedSQError(f"output={'a' * 5000}: names no file"))
    assert len(line) < 600
    assert line.startswith("output=aaa")
    assert line.endswith("aaa: names no file")


def test_what_went_wrong_side_by_side_has_a_line_each() -> None:
    assert str(FedSQError("2 of 3 failed", "first\nof two", "second")) == "2 of 3 failed\n  first of two\n  second"

"""The lines of a log: what they hold as text and as JSON, and what cannot get into them."""

import json
import logging
import re
import sys

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.executors.log_lines import FORMAT, log_formatter, meanwhile

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"


def record(message, *args, error=None):
    return logging.LogRecord("fedsq_flwr.a", logging.WARNING, "a.py", 1, message, args, error)


@pytest.mark.parametrize(
    ("options", "rest"),
    [
        ({}, "fedsq_flwr.a: all of 3"),
        ({"run": "a"}, "fedsq_flwr.a: all of 3"),
        ({"named": False, "silo": 2}, "silo 2: all of 3"),
    ],
)
def test_text_has_time_with_zone_level_and_silo(monkeypatch, options, rest):
    monkeypatch.delenv(FORMAT, raising=False)
    assert re.fullmatch(f"{TIME} WARNING {rest}", log_formatter(**options).format(record("all of %d", 3)))


@pytest.mark.parametrize("letter", ["\n", "\r", "\x1b", "\u2028", "\x00"])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_a_silo_says_makes_no_line_of_its_own(monkeypatch, log_format, letter):
    monkeypatch.setenv(FORMAT, log_format)
    line = log_formatter().format(record("it %s", f"fails{letter}2026-01-01 ERROR"))
    assert len(line.splitlines()) == 1
    assert letter not in line


@pytest.mark.parametrize(
    ("message", "args", "about"),
    [
        ("all is well", (), {}),
        ("100 %% of round %d", (3,), {"round": 3}),
        ("round %d: silo %d is left out: it %s", (3, 1, "says silo 9, round 8"), {"round": 3, "silo": 1}),
        ("round %d/%d: loss %.3f", (3, 40, 0.5), {"round": 3}),
        ("%s silo %d of %d", ("round 7:", 1, 2), {"silo": 1}),
        ("run %s: its output has ended", ("42",), {"run": "42"}),
    ],
)
def test_json_knows_what_a_message_is_about_by_its_template_and_not_by_its_values(monkeypatch, message, args, about):
    monkeypatch.setenv(FORMAT, "json")
    told = json.loads(log_formatter().format(record(message, *args)))
    assert re.fullmatch(TIME, told.pop("time"))
    assert told == {"level": "WARNING", "logger": "fedsq_flwr.a", **about, "message": message % args}
    assert list(told)[-1] == "message"


def test_json_knows_what_the_log_is_of_what_goes_on_meanwhile_and_exceptions(monkeypatch):
    monkeypatch.setenv(FORMAT, "json")
    lines = log_formatter(silo=4, run="a")
    try:
        raise ValueError("no\nimages")
    except ValueError:
        error = sys.exc_info()
    with meanwhile(run=17) as known:
        known["round"] = 2
        told = json.loads(lines.format(record("failed", error=error)))
    assert (told["silo"], told["run"], told["round"]) == (4, 17, 2)
    assert told["exception"].endswith("ValueError: no\nimages")
    assert json.loads(lines.format(record("over")))["run"] == "a"


def test_another_format_is_refused(monkeypatch):
    monkeypatch.setenv(FORMAT, "xml")
    with pytest.raises(ConfigurationError, match="FEDSQ_LOG_FORMAT=xml: must be text or json"):
        log_formatter()

"""The health file: written at each heartbeat, gone when the silo has left, and never the silo's undoing."""

import json
import logging
import os
from datetime import datetime

import pytest

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.silos.health import health_file
from fedsq_flwr.silos.link import Link
from tests.silos.fleet import Fleet
from tests.silos.test_link import until


def test_the_file_is_there_while_the_silo_is_connected(tmp_path):
    path = tmp_path / "health"
    path.write_text("of a silo that was killed")
    with Fleet() as fleet, health_file(str(path), 3, fleet.address) as health:
        assert not path.exists()
        with Link(fleet.address, keys=None, insecure=True, on_heartbeat=health.write):
            until(path.exists)
            told = json.loads(path.read_text())
            assert datetime.fromisoformat(told.pop("time")).tzinfo is not None
            assert told == {"silo": 3, "superlink": fleet.address, "pid": os.getpid()}
    assert list(tmp_path.iterdir()) == []


def test_a_heartbeat_that_is_not_taken_does_not_count(tmp_path):
    beats = []
    with Fleet() as fleet:
        fleet.answers["send-node-heartbeat"] = [b"<html>"] * 9
        with Link(fleet.address, keys=None, insecure=True, on_heartbeat=lambda: beats.append(1)):
            until(lambda: fleet.heartbeats)
    assert beats == []


def test_a_place_that_takes_no_file_is_refused_at_the_start_and_told_once_later(tmp_path, caplog):
    path = tmp_path / "health"
    with health_file(str(path), 0, "a:1") as health, caplog.at_level(logging.WARNING):
        path.mkdir()
        health.write()
        health.write()
    assert [record.getMessage() for record in caplog.records] == [
        f"health_file={path}: cannot be written: Is a directory",
        f"health_file={path}: cannot be removed: Is a directory",
    ]
    with (
        pytest.raises(ConfigurationError, match=f"health_file={path}: cannot be written"),
        health_file(str(path), 0, ""),
    ):
        pass


def test_without_a_path_there_is_none():
    with health_file(None, 0, "a:1") as health:
        assert health is None

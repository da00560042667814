"""Flower's commands, with a script in the place of `flwr`."""

from pathlib import Path

import pytest

from fedsq_flwr.executors import flower_commands
from fedsq_flwr.executors.flower_commands import FlowerCommands
from fedsq_flwr.executors.run_log import RunLog


@pytest.fixture
def flwr(monkeypatch, tmp_path):
    """Have the commands call a shell script of these lines."""

    def write(*lines: str) -> None:
        script = tmp_path / "flwr"
        script.write_text("\n".join(["#!/bin/sh", *lines, ""]))
        script.chmod(0o755)
        monkeypatch.setattr(flower_commands, "command_path", lambda _: str(script))

    return write


def test_the_id_of_a_run_is_known_however_much_the_run_has_said_since(flwr, tmp_path):
    flwr("echo 'Successfully started run 42'", "seq 5000", "echo 'Successfully started run 43'")
    with RunLog(tmp_path / "log") as log, FlowerCommands(log, {}) as flower:
        assert flower.run_id() is None
        assert flower.run(Path("app"), ()).wait() == 0
        log.drain(10)
        assert flower.run_id() == "42"

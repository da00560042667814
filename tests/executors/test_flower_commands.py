"""Flower's commands, with a script in the place of `flwr`."""

from pathlib import Path

import pytest

from fedsq_flwr.errors import RunFailedError
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


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["echo 'Public key already in use' >&2", "exit 1"], "Public key already in use"),
        (["exit 1"], "no reason given"),
        (["exec sleep 30"], "no answer within 0.5 seconds"),
    ],
)
def test_a_key_that_is_not_registered_is_told_in_one_line(flwr, monkeypatch, tmp_path, lines, reason):
    monkeypatch.setattr(flower_commands, "_COMMAND_SECONDS", 0.5)
    flwr(*lines)
    with RunLog(tmp_path / "log") as log, FlowerCommands(log, {}) as flower, pytest.raises(RunFailedError) as caught:
        flower.register(Path("silo-0.pub"))
    assert str(caught.value) == f"silo-0.pub: is not registered: {reason}"

"""Flower's commands, with a script in the place of `flwr`."""

import logging
from pathlib import Path

import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors import flower_commands
from fedsq_flwr.executors.flower_commands import COMPLETED, FlowerCommands
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


#: What `flwr` says of the run when it is asked for the first time, the second time, and so on.
ANSWERS = {
    "at once": (["finished:completed"], COMPLETED),
    "after two failures": (["exit 1", "no json", "finished:completed"], COMPLETED),
    "after the run went on without its output": (
        ["running", "exit 1", "running", "finished:failed"],
        "finished:failed",
    ),
    "never": (["exit 1"], None),
    "never again": (["running", "exit 1"], "running"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_the_status_of_a_run_is_asked_for_until_it_is_known(flwr, monkeypatch, tmp_path, caplog, case):
    answers, status = ANSWERS[case]
    monkeypatch.setattr(flower_commands, "_STATUS_POLL_SECONDS", 0.01)
    says = {"exit 1": "exit 1", "no json": "echo starting"}
    told = [says.get(each, f'echo \'{{"runs": [{{"status": "{each}"}}]}}\'') for each in answers]
    count = tmp_path / "count"
    count.write_text("0")
    steps = [f"{n}) {line};;" for n, line in enumerate(told[:-1])]
    number = f"n=$(cat {count}); echo $((n + 1)) > {count}"
    flwr(
        'if [ "$1" = run ]; then echo "Successfully started run 42"; exit; fi',
        *(number, "case $n in", *steps, f"*) {told[-1]};;", "esac"),
    )
    reports = []
    with RunLog(tmp_path / "log") as log, FlowerCommands(log, {}) as flower, caplog.at_level(logging.INFO):
        assert flower.run(Path("app"), ()).wait() == 0
        log.drain(10)
        assert flower.final_status(lambda: reports.append(1), silent=0.3 if answers[-1] == "exit 1" else 60) == status
    assert len(reports) >= len(answers) - 1
    assert ("run 42: its output has ended; waiting for" in caplog.text) is (len(answers) > 1 or status is None)


def test_a_run_that_goes_on_is_waited_for_no_longer_than_told_and_one_that_never_began_not_at_all(flwr, tmp_path):
    flwr('[ "$1" = run ] && echo "Successfully started run 42" && exit', 'echo \'{"runs": [{"status": "running"}]}\'')
    with RunLog(tmp_path / "log") as log, FlowerCommands(log, {}) as flower:
        assert flower.final_status() is None
        flower.run(Path("app"), ()).wait()
        log.drain(10)
        assert flower.final_status(unfinished=0.0) == "running"

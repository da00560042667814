"""Silos that the product itself starts on this machine: waited for, and not mistaken for an earlier attempt's."""

from pathlib import Path

import psutil
import pytest

from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.executors.silo_processes import SiloProcesses, log_of


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Settings with which no silo starts."""
    path = tmp_path / "silo-3" / "silo.yaml"
    path.parent.mkdir()
    path.write_text(f"superlink: localhost:1\nsilo: many\nsilos: 4\ndata_path: {tmp_path}\n", encoding="utf-8")
    return path


def test_a_silo_that_does_not_start_is_named_with_what_it_said_last(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailedError) as caught, SiloProcesses([broken], tmp_path, {}):
        pass
    message = str(caught.value)
    assert message.startswith("silo silo-3 did not start: fedsq: silo=many: must be a whole number")
    assert message.endswith(f"(log: {log_of(broken)})")
    assert len(message.splitlines()) == 1
    assert psutil.Process().children(recursive=True) == []


def test_a_silo_that_was_ready_in_an_earlier_attempt_is_not_taken_for_ready(broken: Path, tmp_path: Path) -> None:
    """A resumed rehearsal goes on in the same folder, and the last attempt may have been killed."""
    log_of(broken).write_text("2026-01-01 00:00:00,000 INFO ready\n", encoding="utf-8")
    with (
        pytest.raises(RunFailedError, match="did not start: fedsq: silo=many: must be a whole number"),
        SiloProcesses([broken], tmp_path, {}),
    ):
        pass
    assert "INFO ready" in log_of(broken).read_text(encoding="utf-8")

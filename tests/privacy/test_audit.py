"""The audit log: whatever is changed in it is found, and a killed process breaks nothing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsq_flwr.commands.audit import audit
from fedsq_flwr.errors import DataError
from fedsq_flwr.privacy.accounting import Mechanism
from fedsq_flwr.privacy.audit import AuditLog
from fedsq_flwr.privacy.ledger import NAME, Ledger
from tests.report.conftest import RunFiles

pytest.importorskip("dp_accounting", reason="the extra privacy is not installed")


@pytest.fixture
def log(ledger: Ledger) -> AuditLog:
    log = AuditLog(ledger)
    log.append("started", {"version": "0"})
    for run in range(3):
        log.append("asked", {"run": run, "kind": "train"})
        ledger.charge("record", Mechanism(3.0, 0.1), 5, delta=1e-5, limit=9.0)
        log.append("answered", {"run": run, "bytes_out": 1_000, "sha256": "ab"})
    log.append("refused", {"run": 3, "reason": "batch_norm=batch: must be frozen", "bytes_out": 32})
    return log


def test_a_log_that_was_left_alone_holds_together_and_is_summarised(log: AuditLog) -> None:
    told = "\n".join(audit(log.path))
    assert "8 lines hold together" in told
    assert "ledger: agrees\n" in told
    assert "runs: 4; events: 3 answered, 3 asked, 1 refused, 1 started" in told
    assert "left the silo: 3,032 bytes" in told
    assert "at delta 1e-05, unit record" in told
    assert "refused 1 times: batch_norm=batch: must be frozen" in told


def edited(text: bytes, **facts: object) -> bytes:
    return (json.dumps(json.loads(text) | facts) + "\n").encode()


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a fact changed": lambda lines: [*lines[:2], lines[2].replace(b"1000", b"1001"), *lines[3:]],
    "the last line changed": lambda lines: [*lines[:-1], lines[-1].replace(b"frozen", b"FROZEN")],
    "a blank added": lambda lines: [*lines[:2], lines[2].replace(b": ", b":  ", 1), *lines[3:]],
    "two lines swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "the first line gone": lambda lines: lines[1:],
    "a line in the middle gone": lambda lines: [*lines[:3], *lines[4:]],
    "a line twice": lambda lines: [*lines[:3], *lines[2:]],
    "the tail cut": lambda lines: lines[:-1],
    "all gone": lambda lines: [],
    "half of the last line": lambda lines: [*lines[:-1], lines[-1][:9]],
    "no JSON": lambda lines: [*lines[:2], b"what?\n", *lines[3:]],
    "a number of another type": lambda lines: [*lines[:2], edited(lines[2], bytes_out="many"), *lines[3:]],
    "renumbered": lambda lines: [*lines[:2], edited(lines[2], line=4), *lines[3:]],
    "endless": lambda lines: [*lines, b"x" * 2**17],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_changed_reordered_or_cut_log_is_found(log: AuditLog, how: str) -> None:
    log.path.write_bytes(b"".join(TAMPERED[how](log.path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(DataError, match=r"audit\.jsonl"):
        audit(log.path)
    with pytest.raises(DataError):  # and no silo starts with it
        AuditLog(Ledger(log.path.parent))


def test_who_writes_beside_a_running_silo_ends_it(log: AuditLog) -> None:
    with log.path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(DataError, match="and the ledger beside it says"):
        log.append("asked", {})


def test_a_chain_that_was_made_anew_disagrees_with_the_ledger(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(Ledger(tmp_path / "other"))
    for number in range(8):
        other.append("asked", {"run": number})
    log.path.write_bytes(other.path.read_bytes())
    with pytest.raises(DataError, match="has another hash than the ledger says"):
        audit(log.path)


def run_told(directory: Path, **told: object) -> Path:
    """A run's directory whose summary says what silo 2 told of its log."""
    files = RunFiles(directory, rounds=1, silos=3, classes=2)
    assert files.summary is not None
    files.summary["audits"] = [{"silo": 0, "reason": "was away"}, {"silo": 2, **told}]
    return files.write()


@pytest.mark.parametrize("ledger_too", [False, True])
def test_what_the_server_was_told_shows_a_cut_tail(log: AuditLog, tmp_path: Path, ledger_too: bool) -> None:
    """Also where somebody could write to the ledger."""
    log.append("started", {"silo": 2})
    head = log.append("asked", {"run": 9, "kind": "query.audit"})
    run = run_told(tmp_path / "run", lines=head.lines, last=head.last)
    log.append("answered", {"run": 9})
    assert f"run {run}: agrees with the 10 lines that silo 2 told the server of" in audit(log.path, run)
    log.path.write_bytes(b"".join(log.path.read_bytes().splitlines(keepends=True)[:-2]))
    if ledger_too:
        (log.path.parent / NAME).unlink()
    who = f"what silo 2 told the run in {run}" if ledger_too else "the ledger"
    with pytest.raises(DataError, match=f"ends after line 9, and {who} says 1[01] lines: it was cut"):
        audit(log.path, run)


def test_a_log_that_was_written_anew_is_not_what_the_server_was_told(log: AuditLog, tmp_path: Path) -> None:
    log.append("started", {"silo": 2})
    run = run_told(tmp_path / "run", lines=4, last="ab" * 32)
    with pytest.raises(DataError, match=r"line 4: has another hash than what silo 2 told the run in .*/run says"):
        audit(log.path, run)


def test_a_silo_that_told_nothing_is_told_as_such(log: AuditLog, tmp_path: Path) -> None:
    run = run_told(tmp_path / "run", lines=1, last="ab" * 32)
    with pytest.raises(DataError, match="has no line of a silo that started"):
        audit(log.path, run)
    log.append("started", {"silo": 1})
    with pytest.raises(DataError, match=r"summary\.json: says of no audit log of silo 1"):
        audit(log.path, run)
    with pytest.raises(DataError, match=r"summary\.json: there is no such file; a run writes it at its end"):
        audit(log.path, tmp_path)
    log.append("started", {"silo": 0})
    with pytest.raises(DataError, match=r"cannot be compared with .* silo 0 told nothing of its log: was away"):
        audit(log.path, run)


def test_an_older_ledger_that_is_put_back_is_found(log: AuditLog, ledger: Ledger) -> None:
    """Its count would be too low."""
    ledger_file = log.path.parent / NAME
    older = ledger_file.read_bytes()
    ledger.charge("record", Mechanism(3.0, 0.1), 50, delta=1e-5, limit=99.0)
    log.append("answered", {"run": 9, "bytes_out": 1_000})
    ledger_file.write_bytes(older)
    told = "has 9 lines, and the ledger says 8: lines were added, or an older ledger was put back"
    with pytest.raises(DataError, match=told):
        audit(log.path)
    with pytest.raises(DataError, match=told):
        AuditLog(Ledger(log.path.parent))


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("torn", [False, True])
def test_lines_that_somebody_else_adds_are_found(log: AuditLog, ledger: Ledger, count: int, torn: bool) -> None:
    content = log.path.read_bytes()
    for number in range(count):
        previous = hashlib.sha256(content.splitlines(keepends=True)[-1]).hexdigest()
        facts = {
            "line": 9 + number,
            "time": "now",
            "event": "answered",
            "epsilon": 0.01,
            "unit": "record",
            "delta": 0.1,
        }
        content += (json.dumps({**facts, "previous": previous}) + "\n").encode()
    log.path.write_bytes(content[:-5] if torn else content)
    for look in (lambda: audit(log.path), lambda: AuditLog(Ledger(ledger.folder))):
        with pytest.raises(DataError, match="lines were added"):
            look()


def test_a_line_that_no_reader_would_take_is_not_written(log: AuditLog) -> None:
    with pytest.raises(ValueError, match="a line of 70,"):
        log.append("asked", {"kind": "a" * 70_000})
    assert "ledger: agrees" in audit(log.path)


def test_without_a_ledger_a_cut_tail_does_not_show_and_that_is_said(log: AuditLog) -> None:
    (log.path.parent / NAME).unlink()
    assert any("a cut tail would not show" in line for line in audit(log.path))


@pytest.mark.parametrize("torn", [False, True])
def test_a_process_killed_between_log_and_ledger_breaks_nothing(log: AuditLog, torn: bool) -> None:
    ledger_file = log.path.parent / NAME
    before = json.loads(ledger_file.read_bytes())
    log.append("asked", {"run": 9})
    killed = before | {"pending": json.loads(ledger_file.read_bytes())["audit"]}
    ledger_file.write_text(json.dumps(killed))
    if torn:
        log.path.write_bytes(log.path.read_bytes()[:-3])
    again = AuditLog(Ledger(log.path.parent))
    head = again.append("answered", {"run": 9})
    assert head.lines == (9 if torn else 10)
    assert "ledger: agrees" in "\n".join(audit(log.path))

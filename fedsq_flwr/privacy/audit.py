"""The audit log of a silo: a line of JSON for each event, each line holding the hash of the line before.

The ledger beside the log holds its length and last hash, and, before a line is written, those that it will have. A
changed, reordered, inserted or removed line breaks the chain of hashes. A cut tail, added lines, and an older ledger
that was put back disagree with the ledger. Who can write to both files can write both anew: see the
threat model in docs/explanation/security.md.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import FileModel, opened, parse_as, writing
from fedsq_flwr.privacy.ledger import AUDIT_NAME, NAME, NO_HASH, AuditHead, Ledger, LedgerContent, sync_folder

#: The most bytes of a line and of a log that are read.
_LONGEST, _LARGEST = 2**16, 2**34


class AuditLine(FileModel):
    """What every line holds, beside the facts of its event."""

    line: int
    time: str
    event: str
    previous: str
    run: int | str | None = None
    silo: int | None = None
    kind: str | None = None
    reason: str | None = None
    bytes_out: int = 0
    unit: str | None = None
    epsilon: float | None = None
    delta: float | None = None


class AuditLog:
    """Writes the audit log beside a ledger.

    Parameters
    ----------
    ledger : Ledger
        With a folder, in which the log lies too.

    Raises
    ------
    DataError
        If the log is not what the ledger says.
    """

    def __init__(self, ledger: Ledger) -> None:
        if ledger.folder is None:
            raise ValueError("an audit log needs a ledger with a folder")
        self._ledger = ledger
        self.path = ledger.folder / AUDIT_NAME
        with ledger.extending_audit() as note:
            self._recover(note, ledger.read())

    def append(self, event: str, facts: Mapping[str, Any]) -> AuditHead:
        """Write the line of an event, with what the ledger says is spent; return when it is on the disk.

        Raises
        ------
        DataError
            If somebody else has written to the log.
        RunFailedError
            If it cannot be written.
        """
        with self._ledger.extending_audit() as note:
            content = self._ledger.read()
            head = content.audit
            size = self.path.stat().st_size if self.path.exists() else 0
            if size != head.bytes:
                raise DataError(f"{self.path}: has {size:,} bytes, and the ledger beside it says {head.bytes:,}")
            spent = {} if content.spent is None else content.spent.model_dump()
            told = {
                "line": head.lines + 1,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "event": event,
                **facts,
                **spent,
                "previous": head.last,
            }
            line = (json.dumps(told, allow_nan=False) + "\n").encode()
            if len(line) > _LONGEST:  # no reader would take it
                raise ValueError(f"a line of {len(line):,} bytes")
            longer = AuditHead(lines=head.lines + 1, bytes=size + len(line), last=_hash(line))
            note(head, longer)
            with writing(self.path):
                with self.path.open("ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                if size == 0:
                    sync_folder(self.path.parent)
            note(longer, None)
        return longer

    def _recover(self, note: Callable[[AuditHead, AuditHead | None], None], content: LedgerContent) -> None:
        """Take up the line that a killed process has written, and drop half a line."""
        if not self.path.exists() and content.audit.lines == 0:
            note(content.audit, None)  # a log without a ledger would count as one whose ledger is gone
            return
        found = verify(self.path, content.audit, exact=content.heads)
        if content.pending is None:
            return
        with writing(self.path):
            os.truncate(self.path, found.head.bytes)
        note(found.head, None)


@dataclass(frozen=True)
class Verified:
    """What a log that holds together says.

    Attributes
    ----------
    head : AuditHead
        Of the whole lines of the file.
    torn : bool
        Whether half a line follows, as a killed process leaves it.
    events : Counter of str
        How often each event happened.
    runs : int
        How many runs asked for something.
    bytes_out : int
        Bytes that left.
    refusals : Counter of str
        What was refused, by the reason.
    by_run : dict
        For each run and kind of message, how many answers and refusals left, and of how many bytes.
    spent : str or None
        Epsilon with its unit, after the last line.
    silo : int or None
        The number that the silo had when it started last.
    first, last : str
        The times of the first and of the last line.
    """

    head: AuditHead
    torn: bool
    events: Counter[str]
    runs: int
    bytes_out: int
    refusals: Counter[str]
    by_run: dict[tuple[str, str], tuple[int, int]]
    spent: str | None
    silo: int | None
    first: str
    last: str


def verify(
    path: Path,
    expected: AuditHead | None = None,
    by: str = "the ledger",
    *,
    exact: Sequence[AuditHead] = (),
) -> Verified:
    """Check the chain of hashes of a log.

    Parameters
    ----------
    path : Path
        The log.
    expected : AuditHead, optional
        What the ledger, or anybody who was told, says of the log: it may be longer, and not shorter.
    by : str
        Who says so.
    exact : sequence of AuditHead
        What the whole log must be, one of them; with more than one, a line may be half written. By default anything.

    Raises
    ------
    DataError
        One line that names the first line that does not fit.
    """
    previous, size, number, torn = NO_HASH, 0, 0, False
    events, refusals, runs, bytes_out = Counter[str](), Counter[str](), set[object](), 0
    spent, silo, first, last = None, None, "", ""
    by_run: dict[tuple[str, str], tuple[int, int]] = {}
    known = expected is None or expected.lines == 0
    with opened(path, at_most=_LARGEST) as file:
        while raw := file.readline(_LONGEST):
            where = f"{path}, line {number + 1}"
            if not raw.endswith(b"\n"):
                if len(raw) == _LONGEST:
                    raise DataError(f"{where}: is longer than {_LONGEST} bytes")
                torn = True
                break
            line = parse_as(AuditLine, raw, where)
            if line.previous != previous or line.line != number + 1:
                raise DataError(f"{where}: does not follow the line before: a line was changed, moved or removed")
            previous, size, number = _hash(raw), size + len(raw), number + 1
            if expected is not None and number == expected.lines:
                if previous != expected.last:
                    raise DataError(f"{where}: has another hash than {by} says: the log was changed")
                known = True
            events[line.event] += 1
            bytes_out += line.bytes_out
            runs |= set() if line.run is None else {line.run}
            if line.event in ("answered", "refused"):
                of = str(line.run), "refusal" if line.event == "refused" else str(line.kind)
                messages, left = by_run.get(of, (0, 0))
                by_run[of] = messages + 1, left + line.bytes_out
            if line.event == "refused":
                refusals[str(line.reason)] += 1
            silo = silo if line.silo is None else line.silo
            if line.epsilon is not None:
                spent = f"epsilon {line.epsilon:.4g} at delta {line.delta:g}, unit {line.unit}"
            first, last = first or line.time, line.time
    if not known and expected is not None:
        raise DataError(f"{path}: ends after line {number}, and {by} says {expected.lines} lines: it was cut")
    head = AuditHead(lines=number, bytes=size, last=previous)
    if exact and (head not in exact or (torn and len(exact) == 1)):
        raise DataError(
            f"{path}: has {number} lines{' and a half' if torn else ''}, and {by} says {exact[0].lines}: lines were "
            "added, or an older ledger was put back"
        )
    return Verified(head, torn, events, len(runs), bytes_out, refusals, by_run, spent, silo, first, last)


def verify_beside_ledger(path: Path) -> tuple[Verified, LedgerContent | None]:
    """Check a log against the ledger in its folder, if there is one, also while a silo writes to both.

    Raises
    ------
    DataError
        As `verify`; or the ledger is damaged.
    """
    ledger = Ledger(path.parent)
    if not (path.parent / NAME).exists():
        return verify(path), None
    while True:
        content = ledger.read()
        try:
            return verify(path, content.audit, exact=content.heads), content
        except DataError:
            if ledger.read().heads == content.heads:
                raise


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()

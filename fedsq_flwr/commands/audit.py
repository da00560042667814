"""``fedsq audit``: check a silo's audit log, and say what it says."""

from pathlib import Path

from fedsq_flwr.errors import DataError
from fedsq_flwr.privacy.audit import verify, verify_beside_ledger
from fedsq_flwr.privacy.ledger import AuditHead
from fedsq_flwr.records.summary import SUMMARY, read_summary


def audit(path: Path, run: Path | None = None) -> list[str]:
    """Check the log at ``path`` against its own hashes and the ledger beside it; return a summary in lines.

    With the directory of a ``run``, the log is also checked against what its silo told the server of that run.

    Raises
    ------
    FedSQError
        If a line was changed, moved, inserted or removed, the log is not what the ledger beside it says, or the silo
        told the server of the run nothing.
    """
    found, ledger = verify_beside_ledger(path)
    lines = [
        f"{path}: {found.head.lines} lines hold together, {found.first or '-'} to {found.last or '-'}",
        f"last hash: {found.head.last}",
    ]
    if ledger is None:
        lines.append("ledger: none beside the log, so a cut tail would not show")
    else:
        lines.append(f"ledger: agrees{'' if ledger.pending is None else '; a line was being written'}")
    if run is not None:
        lines.append(f"run {run}: {_agreement(path, found.silo, run)}")
    if found.torn:
        lines.append("the last line is half written")
    lines.append(f"runs: {found.runs}; events: {_counted(found.events)}")
    lines.append(f"left the silo: {found.bytes_out:,} bytes")
    lines.append(f"spent: {found.spent or 'no privacy was enforced'}")
    lines += [f"refused {count} times: {reason}" for reason, count in found.refusals.most_common(10)]
    return lines


def _agreement(path: Path, silo: int | None, run: Path) -> str:
    """Say that the log holds what its silo told the server of a run."""
    if silo is None:
        raise DataError(f"{path}: has no line of a silo that started, so it cannot be compared with {run}")
    if not (run / SUMMARY).exists():
        raise DataError(
            f"{run / SUMMARY}: there is no such file; a run writes it at its end, and it is all that is needed"
        )
    told = next((each for each in read_summary(run).audits if each.silo == silo), None)
    if told is None:
        raise DataError(f"{run / SUMMARY}: says of no audit log of silo {silo}, whose log {path} is")
    if told.lines is None or told.last is None:
        raise DataError(f"{path}: cannot be compared with {run}: silo {silo} told nothing of its log: {told.reason}")
    verify(path, AuditHead(lines=told.lines, last=told.last), f"what silo {silo} told the run in {run}")
    return f"agrees with the {told.lines} lines that silo {silo} told the server of"


def _counted(events: dict[str, int]) -> str:
    return ", ".join(f"{count} {event}" for event, count in sorted(events.items())) or "none"

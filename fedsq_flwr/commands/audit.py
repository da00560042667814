"""``fedsq audit``: check a silo's audit log, and say what it says."""

from pathlib import Path

from fedsq_flwr.privacy.audit import ledger_beside, verify


def audit(path: Path) -> list[str]:
    """Check the log at ``path`` against its own hashes and the ledger beside it; return a summary in lines.

    Raises
    ------
    FedSQError
        If a line was changed, moved, inserted or removed, or the log is shorter than the ledger says.
    """
    ledger = ledger_beside(path)
    found = verify(path, ledger)
    lines = [
        f"{path}: {found.head.lines} lines hold together, {found.first or '-'} to {found.last or '-'}",
        f"last hash: {found.head.last}",
    ]
    if ledger is None:
        lines.append("ledger: none beside the log, so a cut tail would not show")
    else:
        beyond = found.head.lines - ledger.lines
        lines.append(f"ledger: agrees{f'; {beyond} lines were written after it' if beyond else ''}")
    if found.torn:
        lines.append("the last line is half written")
    lines.append(f"runs: {found.runs}; events: {_counted(found.events)}")
    lines.append(f"left the silo: {found.bytes_out:,} bytes")
    lines.append(f"spent: {found.spent or 'no privacy was enforced'}")
    lines += [f"refused {count} times: {reason}" for reason, count in found.refusals.most_common(10)]
    return lines


def _counted(events: dict[str, int]) -> str:
    return ", ".join(f"{count} {event}" for event, count in sorted(events.items())) or "none"

"""Where the numbers of a page come from: a row each, of one run or of several."""

from collections.abc import Iterator, Sequence

from fedsq_flwr.report import numerals
from fedsq_flwr.report.run import Run

FEW = 6  # different texts of a row
ROWS = ("Date", "Command line", "Commit", "Processor", "Data", "Weights at the start", "Seeds", "Versions")


def origins(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return what the runs tell of their origin: each row's name, and its different texts."""
    found: dict[str, dict[str, None]] = {name: {} for name in ROWS}
    for run in runs:
        for name, text in _told(run):
            found[name][text] = None
    return [(name, _shown(name, list(texts)) or ["not recorded"]) for name, texts in found.items()]


def _told(run: Run) -> Iterator[tuple[str, str]]:
    summary, told = run.summary, run.summary.provenance
    if told is not None:
        yield "Date", told.date
        yield "Command line", told.command or "not known to the server"
        state = "as committed" if told.clean else "with changes that are not committed"
        yield "Commit", "not run from a checkout" if told.commit is None else f"{told.commit}, {state}"
        cores = "" if told.cores is None else f", {numerals.count(told.cores, 'core')}"
        yield "Processor", f"{told.processor or 'not known'}{cores}"
    yield "Data", _with_digest(run.settings.data.title, told.data_sha256 if told else None)
    weights = summary.weights or {}
    if weights.get("source"):
        yield "Weights at the start", _with_digest(str(weights["source"]), weights.get("sha256"))
    partition = run.partition.seed if run.partition else None
    own = "" if partition in (None, run.settings.seed) else f" (partition: {partition})"
    yield "Seeds", f"{run.settings.seed}{own}"
    if summary.versions:
        yield "Versions", ", ".join(f"{name} {version}" for name, version in summary.versions.items())


def _with_digest(name: str, digest: object) -> str:
    return f"{name}, sha256 {digest}" if digest else name


def _shown(name: str, texts: list[str]) -> list[str]:
    """Return what a row has: of dates the first and the last, of many other texts the first ones."""
    if name == "Date" and len(texts) > 1:
        return [f"{min(texts)} to {max(texts)}"]
    if name == "Seeds":
        return [", ".join(texts)] if texts else []
    return texts if len(texts) <= FEW else [*texts[:FEW], f"and {len(texts) - FEW} more"]

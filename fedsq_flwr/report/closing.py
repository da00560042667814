"""What a run says at its end."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console
from rich.text import Text

from fedsq_flwr.report import captions, numerals
from fedsq_flwr.report.fields import Fields
from fedsq_flwr.report.page import REPORT_NAME
from fedsq_flwr.report.parsing import parse_summary
from fedsq_flwr.report.records import Summary

LABEL = 27  # characters before the values


def print_summary(summary: Mapping[str, Any], directory: Path, console: Console) -> None:
    """Print the outcome of a run and where its files are.

    Parameters
    ----------
    summary : Mapping[str, Any]
        What ``summary.json`` holds.
    directory : Path
        The run's directory.
    console : Console
        Where to print.
    """
    fields = Fields("the summary", dict(summary))
    outcome = parse_summary(fields)
    title = (
        f"{fields.text('method')} on {fields.text('data')}, {numerals.count(fields.whole('silos'), 'silo')}, "
        f"seed {fields.whole('seed')}: {numerals.count(fields.whole('rounds'), 'round')} "
        f"in {numerals.duration(outcome.wall_seconds)}"
    )
    lines = [Text(), Text(title, style="bold")]
    lines += [
        Text.assemble(f"  {label:<{LABEL}}", (value, "bold"), f"  {detail}".rstrip())
        for label, value, detail in [*_results(outcome), *_remarks(fields.text("batch_norm"))]
    ]
    # Paths are never broken or cut: they are there to be copied.
    lines += [Text(), *(Text(f"  {label:<9}{value}") for label, value in _paths(directory))]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def _results(outcome: Summary) -> list[tuple[str, str, str]]:
    rows = [("best validation accuracy", numerals.accuracy(outcome.best_accuracy), f"round {outcome.best_round}")]
    if outcome.test_accuracy is not None or outcome.final_accuracy is not None:
        rows += [
            ("test accuracy of the best", numerals.accuracy(outcome.test_accuracy), ""),
            ("final test accuracy", numerals.accuracy(outcome.final_accuracy), ""),
        ]
    if outcome.plain is not None:
        detail = f"of the best; final {numerals.accuracy(outcome.plain.final_test)} (plain form)"
        rows.append(("test with its own ReLUs", numerals.accuracy(outcome.plain.best_test), detail))
    worst = captions.worst_silo(outcome)
    if worst is not None:
        detail = f"silo {worst.silo}; mean of the silos {numerals.accuracy(outcome.silo_mean)}"
        rows.append(("worst silo", numerals.accuracy(outcome.silo_worst), detail))
    traffic = f"{numerals.traffic(outcome.bytes_up)} up, {numerals.traffic(outcome.bytes_down)} down"
    return [*rows, ("traffic", traffic, "")]


def _remarks(batch_norm: str) -> list[tuple[str, str, str]]:
    """Say what the accuracies mean where they do not speak for themselves."""
    if batch_norm != "local":
        return []
    return [("batch norm", "local", "the silos' own figures are the fair ones")]


def _paths(directory: Path) -> list[tuple[str, str]]:
    report = directory / REPORT_NAME
    if report.exists():
        return [("report", str(report)), ("numbers", str(directory / "summary.json"))]
    command = f"fedsq report {quote(str(directory))}"
    return [("report", f"{command}  (makes {REPORT_NAME})"), ("numbers", str(directory / "summary.json"))]

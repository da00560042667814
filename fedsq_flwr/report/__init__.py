"""The report of a run: rounds in the terminal, and one self-contained page."""

from fedsq_flwr.report.page import report_run, write_report
from fedsq_flwr.report.run import Run, read_run
from fedsq_flwr.report.terminal import RoundTable, print_summary

__all__ = ["RoundTable", "Run", "print_summary", "read_run", "report_run", "write_report"]

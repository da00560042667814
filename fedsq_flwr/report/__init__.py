"""What a run says: the rounds as they come, and one self-contained page."""

from fedsq_flwr.report.closing import print_summary
from fedsq_flwr.report.page import write_report
from fedsq_flwr.report.records import Run
from fedsq_flwr.report.rundir import read_run
from fedsq_flwr.report.terminal import RoundTable

__all__ = ["RoundTable", "Run", "print_summary", "read_run", "write_report"]

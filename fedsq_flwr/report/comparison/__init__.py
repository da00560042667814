"""Comparison of runs: differences between methods, with their uncertainty over seeds."""

from fedsq_flwr.report.comparison.analysis import compare
from fedsq_flwr.report.comparison.collecting import collect
from fedsq_flwr.report.comparison.terminal import print_comparison
from fedsq_flwr.report.comparison.writing import write_comparison

__all__ = ["collect", "compare", "print_comparison", "write_comparison"]

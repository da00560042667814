"""What a run leaves behind: history, checkpoints, summary, and how a later run goes on from them."""

from fedsq_flwr.records.directory import RunDirectory

__all__ = ["RunDirectory"]

"""Experiment trackers beside a run's own directory: TensorBoard, MLflow, Weights & Biases. Off by default.

They are told what `content` says, in the process that the user started; `tracking` keeps them in step.
"""

from fedsq_flwr.trackers.registry import open_trackers
from fedsq_flwr.trackers.tracking import Tracking

__all__ = ["Tracking", "open_trackers"]

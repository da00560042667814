"""MLflow: a run in the tracking server or store that ``MLFLOW_TRACKING_URI`` names, else MLflow's local default."""

import os
import time
from collections.abc import Mapping

# Read when MLflow is imported. It would send reports of its own use to its makers, and tell how it makes its tables.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from fedsq_flwr.trackers.tracker import Reason, Setting

_EXPERIMENT = "fedsq"
_LONGEST = 6000  # characters of a parameter, MLflow's limit
_STATUS: Mapping[Reason, str] = {"failed": "FAILED", "interrupted": "KILLED"}


class MLflow:
    """Keeps a run in the experiment that ``MLFLOW_EXPERIMENT_NAME`` names, by default ``fedsq``."""

    def __init__(self) -> None:
        self._client: MlflowClient
        self._run = ""
        self._last = 0

    def start(self, name: str, settings: Mapping[str, Setting], run: str | None) -> str:
        """See `Tracker`. MLflow lets no parameter change: of a resumed run those of its start are kept."""
        self._client = MlflowClient()  # makes a local store that is not there yet
        if run is not None:
            self._client.update_run(run, status="RUNNING")
            self._run = run
            return run
        self._run = self._client.create_run(self._experiment(), run_name=name).info.run_id
        self._client.log_batch(
            self._run, params=[Param(setting, str(value)[:_LONGEST]) for setting, value in settings.items()]
        )
        return self._run

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)  # another run has just made it

    def round(self, number: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._last = number
        self._log(metrics)

    def finish(self, summary: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._log(summary)
        self._client.set_terminated(self._run, "FINISHED")

    def fail(self, reason: Reason) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._run, _STATUS[reason])

    def _log(self, figures: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        self._client.log_batch(
            self._run, metrics=[Metric(name, float(value), now, self._last) for name, value in figures.items()]
        )

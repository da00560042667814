"""TensorBoard: event files in the run's directory, and nowhere else."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fedsq_flwr.trackers.tracker import Reason, Setting

FOLDER = "tensorboard"


class TensorBoard:
    """Writes ``tensorboard/`` in a run's directory; a resumed run adds a file to it.

    Parameters
    ----------
    directory : Path
        The run's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: SummaryWriter
        self._last = 0

    def start(self, name: str, settings: Mapping[str, Setting], run: str | None) -> str:
        """See `Tracker`. Settings become a table in the tab of texts."""
        del name, run  # TensorBoard shows the directory's name, and that is where the run is
        self._writer = SummaryWriter(str(self._directory / FOLDER))
        rows = [f"| {setting} | {value} |" for setting, value in settings.items()]
        self._writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))
        self._writer.flush()
        return FOLDER

    def round(self, number: int, metrics: Mapping[str, float]) -> None:
        """See `Tracker`. The figures are on the disk when this returns."""
        self._last = number
        for metric, value in metrics.items():
            self._writer.add_scalar(metric, value, number)
        self._writer.flush()

    def finish(self, summary: Mapping[str, float]) -> None:
        """See `Tracker`. The summary's figures are at the last round."""
        for result, value in summary.items():
            self._writer.add_scalar(result, value, self._last)
        self._writer.close()

    def fail(self, reason: Reason) -> None:
        """See `Tracker`."""
        self._writer.add_text("outcome", reason, self._last)
        self._writer.close()

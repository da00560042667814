"""The trackers by name. Their packages are optional, and imported only for a run that wants them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.trackers.tracker import Tracker


def _tensorboard(directory: Path) -> Tracker:
    from fedsq_flwr.trackers.tensorboard import TensorBoard

    return TensorBoard(directory)


def _mlflow(_: Path) -> Tracker:
    from fedsq_flwr.trackers.mlflow import MLflow

    return MLflow()


def _wandb(directory: Path) -> Tracker:
    from fedsq_flwr.trackers.wandb import WandB

    return WandB(directory)


#: name, which is also that of the extra to install -> what makes the tracker of a run's directory
TRACKERS: Mapping[str, Callable[[Path], Tracker]] = MappingProxyType(
    {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
)


def open_trackers(names: Sequence[str], directory: Path) -> dict[str, Tracker]:
    """Make the trackers ``names`` of the run in ``directory``; nothing is started or written.

    Raises
    ------
    ConfigurationError
        If a package is not installed; names the extra that brings it.
    """
    trackers = {}
    for name in names:
        try:
            trackers[name] = TRACKERS[name](directory)
        except ImportError as error:
            raise ConfigurationError(
                f"trackers={name}: cannot be imported ({error}); install it by pip install 'fedsq-flwr[{name}]'"
            ) from error
    return trackers

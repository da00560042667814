"""What a run loads before it asks any silo: the data, and the pretrained network."""

from dataclasses import dataclass

from fedsq_flwr.assembly.data import load_server_data
from fedsq_flwr.assembly.network import Start, load_start
from fedsq_flwr.data import ServerData
from fedsq_flwr.settings.run import RunSettings


@dataclass(frozen=True)
class Parts:
    """The parts of a run that are loaded from files, and never changed.

    Attributes
    ----------
    data : ServerData
        What the server has of the data; where no silo has data of its own, what the silos have, too.
    start : Start
        The pretrained network, and what is known about its weights.
    """

    data: ServerData
    start: Start


def load_parts(settings: RunSettings) -> Parts:
    """Load the parts of a run.

    Raises
    ------
    DataError, ConfigurationError, WeightsError
        As `load_server_data` and `load_start`.
    """
    data = load_server_data(settings)
    return Parts(data, load_start(settings, len(data.class_names)))

"""The server's connection to the silos of a run: the wire that carries messages, and who is there."""

from flwr.serverapp import Grid

from fedsq_flwr.federation.registry import NodeRegistry
from fedsq_flwr.federation.waiting import Patience
from fedsq_flwr.federation.wire import Wire, is_within_process
from fedsq_flwr.flower_internals import OBJECT_WAIT, is_simulated, wait_for_objects
from fedsq_flwr.settings.executor import RealSilos
from fedsq_flwr.settings.run import RunSettings

#: The most seconds between two looks for the replies of real silos; a look costs the SuperLink milliseconds.
POLL_SECONDS = 0.5
#: The same in a simulation, whose replies lie in this process's memory.
SIMULATION_POLL_SECONDS = 0.02


def connect(wire: Wire, settings: RunSettings) -> tuple[NodeRegistry, RunSettings]:
    """Wait for the silos; return the node registry, and the settings with the number of silos.

    Flower decides how many silos a simulation has; ``settings.silos`` is then what it says.

    Raises
    ------
    RunFailedError
        If they do not connect in time, or do not say who they are.
    """
    real = settings.has_real_silos
    registry = NodeRegistry(settings.executor.join_timeout)
    if wire.collector is not None:
        wire.collector.name = registry.name
    nodes = registry.wait_for(wire, settings.silos if real else None, settings.min_available_silos)
    if not real:
        settings = settings.changed(silos=registry.num_partitions or len(nodes))
    return registry, settings


def wire_of(grid: Grid, settings: RunSettings) -> Wire:
    """Return the wire of a run: packed where messages cross a network, or are to be rounded."""
    packed = settings.has_real_silos or settings.wire_dtype != "float32"
    dtype = settings.wire_dtype if packed else None
    if not isinstance(settings.executor, RealSilos):
        if is_within_process(grid):
            return Wire(grid, dtype=dtype)
        return Wire(grid, dtype=dtype, poll=SIMULATION_POLL_SECONDS if is_simulated(grid) else POLL_SECONDS)
    wait_for_objects(OBJECT_WAIT)
    patience = Patience(settings.executor.reply_fraction, settings.executor.reply_grace, settings.min_replies)
    return Wire(grid, dtype=dtype, poll=POLL_SECONDS, patience=patience)

"""The model of a method: the quantitative copy alone, or under the gates that the method names."""

from functools import lru_cache
from pathlib import Path

from torch import nn

from fedsq_flwr.assembly.network import load_network, random_network
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy
from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.schedule import StructureSchedule
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.seeding import generator_for
from fedsq_flwr.settings.method import FixedGates, OwnRelus, PretrainedGates, RandomGates
from fedsq_flwr.settings.run import RunSettings


def build_model(settings: RunSettings, classes: int) -> QuantitativeCopy:
    """Build the model that every silo and the server start from; the same for the same settings.

    All methods share the pretrained start and the new head. With ``method.gates=random`` (a control)
    only the structural copy differs: it is a random network.

    Raises
    ------
    WeightsError
        If the weights cannot be had.
    ConfigurationError
        If the pretrained head is to be kept and has another number of classes than the data.
    """
    return model_of(settings, classes, load_network(settings, classes))


def build_silo_model(settings: RunSettings, classes: int) -> QuantitativeCopy:
    """Build the model of a silo: that of `build_model`, or, where the structure is sent, an empty one.

    In the latter case all that the silo needs comes from the server: the quantitative state with every
    message, the structure once.
    """
    if settings.executor.structure == "sent":
        return model_of(settings, classes, random_network(settings, classes, "to be sent"))
    return build_model(settings, classes)


def model_of(settings: RunSettings, classes: int, network: nn.Module) -> QuantitativeCopy:
    """Build the model of `build_model` from the pretrained ``network``, which `load_start` gives."""
    gating = settings.method.gating
    model: QuantitativeCopy
    if isinstance(gating, OwnRelus):
        model = QuantitativeCopy(network, batch_norm=settings.batch_norm)
    elif isinstance(gating, RandomGates):
        model = _dual_copy(settings, gating, random_network(settings, classes, "gates"))
        model.quantitative.load_state_dict(network.state_dict())
    else:
        model = _dual_copy(settings, gating, network)
    if settings.backbone.head != "keep":
        model.replace_head(classes, settings.backbone.head, generator_for(settings.seed, "head"))
    return model


def structure_schedule(settings: RunSettings) -> StructureSchedule:
    """Return which structure is in force in which round."""
    gating = settings.method.gating
    if not isinstance(gating, FixedGates):
        return StructureSchedule()
    freeze_after = gating.freeze_after if isinstance(gating, PretrainedGates) else 0
    return StructureSchedule(freeze_after, gating.refresh_every, gating.release_after)


def training_settings(settings: RunSettings) -> TrainingSettings:
    """Return how a silo trains."""
    return TrainingSettings(
        epochs=settings.local_epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        precision=settings.executor.precision,
        augmentation=settings.data.augmentation,
        schedule=settings.learning_rate_schedule,
        rounds=settings.rounds,
    )


def gate_cache(settings: RunSettings) -> GateCache:
    """Return the cache that server and silos of this process share."""
    directory = settings.executor.gate_cache_dir
    return _gate_cache(
        settings.executor.gate_cache_bytes, None if directory is None else Path(directory).expanduser()
    )


def load_kernels(settings: RunSettings) -> None:
    """Load the kernels that ``executor.kernels`` names, compiled first where they are not there yet.

    Raises
    ------
    ConfigurationError
        If they cannot be compiled here.
    """
    if settings.executor.kernels == "native":
        try:
            native.load(Path(settings.cache_dir).expanduser())
        except native.NativeKernelsError as error:
            raise ConfigurationError(f"executor.kernels=native: {error}") from error


# One cache for each process: the budget is the process's, and the jobs of a sweep share the cached gates.
@lru_cache(maxsize=1)
def _gate_cache(max_bytes: int, directory: Path | None) -> GateCache:
    return GateCache(max_bytes, directory)


def _dual_copy(settings: RunSettings, gating: FixedGates, network: nn.Module) -> DualCopy:
    return DualCopy(
        network,
        batch_norm=settings.batch_norm,
        pool_gates=gating.pool_gates,
        gated_from=gating.gated_from,
        gated_to=gating.gated_to,
    )

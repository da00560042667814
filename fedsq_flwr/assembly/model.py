"""The model of a method: the quantitative copy alone, or under the gates that the method names."""

import logging
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from fedsq_flwr.assembly.network import load_network, random_network
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy
from fedsq_flwr.gating.packed import native
from fedsq_flwr.gating.schedule import StructureSchedule
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.precision import choose_device, make_deterministic
from fedsq_flwr.learning.seeding import generator_for
from fedsq_flwr.models import BACKBONES
from fedsq_flwr.settings.method import FixedGates, OwnRelus, PretrainedGates, RandomGates
from fedsq_flwr.settings.run import RunSettings

log = logging.getLogger(__name__)


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
    # Of the weights alone: the first convolution brings the images into the format of its weights.
    return model.to(memory_format=memory_format(settings))


def memory_format(settings: RunSettings) -> torch.memory_format:
    """Return the format of weights and activations, which ``auto`` chooses by the backbone and the kind of device."""
    named = settings.executor.memory_format
    if named == "auto":
        device = settings.executor.device  # whether it is there is another question
        on_cpu = (choose_device(device).type if device == "auto" else device) == "cpu"
        channels_last = on_cpu and BACKBONES[settings.backbone.name].channels_last
    else:
        channels_last = named == "channels_last"
    return torch.channels_last if channels_last else torch.contiguous_format


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
        epochs=settings.local_epochs or 0,
        steps=settings.local_steps,
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
    executor = settings.executor
    directory = None if executor.gate_cache_dir is None else Path(executor.gate_cache_dir).expanduser()
    return _gate_cache(executor.gate_cache_bytes, directory, executor.gate_cache_device_bytes)


def prepare_torch(settings: RunSettings) -> None:
    """Load the kernels that ``executor.kernels`` names, and make torch deterministic where that is asked for.

    ``native`` compiles the kernels where they are not there yet. ``auto`` takes them only if they are, and goes on
    without those that cannot be loaded here, as of another system that shares the directory: they change no number.

    Raises
    ------
    ConfigurationError
        If ``native`` kernels cannot be compiled or loaded here.
    """
    make_deterministic(settings.executor.deterministic)
    directory = Path(settings.cache_dir).expanduser()
    if settings.executor.kernels == "native":
        try:
            native.load(directory)
        except native.NativeKernelsError as error:
            raise ConfigurationError(f"executor.kernels=native: {error}") from error
    elif settings.executor.kernels == "auto":
        _load_compiled_kernels(directory)


@lru_cache(maxsize=8)  # looked for once: a silo asks at each message, and it takes a millisecond
def _load_compiled_kernels(directory: Path) -> None:
    try:
        if not native.is_loaded() and native.load_compiled(directory):
            log.info("gates are applied by the compiled kernels %s", native.library(directory).name)
    except native.NativeKernelsError as error:
        log.warning("executor.kernels=auto: %s; gates are applied by torch", error)


# One cache for each process: the budget is the process's, and the jobs of a sweep share the cached gates.
@lru_cache(maxsize=1)
def _gate_cache(max_bytes: int, directory: Path | None, device_bytes: int) -> GateCache:
    return GateCache(max_bytes, directory, device_bytes=device_bytes)


def _dual_copy(settings: RunSettings, gating: FixedGates, network: nn.Module) -> DualCopy:
    return DualCopy(
        network,
        batch_norm=settings.batch_norm,
        pool_gates=gating.pool_gates,
        gated_from=gating.gated_from,
        gated_to=gating.gated_to,
    )

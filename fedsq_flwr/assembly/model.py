"""The model of a method: the quantitative copy alone, or under the gates that the method names."""

from torch import nn

from fedsq_flwr.assembly.network import load_network, random_network
from fedsq_flwr.config.schema import Config
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.gating.schedule import StructureSchedule
from fedsq_flwr.learning import TrainingSettings
from fedsq_flwr.learning.seeding import generator_for


def build_model(config: Config, classes: int) -> QuantitativeCopy:
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
    return model_of(config, classes, load_network(config, classes))


def build_silo_model(config: Config, classes: int) -> QuantitativeCopy:
    """Build the model of a silo: that of `build_model`, or, where the structure is sent, an empty one.

    In the latter case all that the silo needs comes from the server: the quantitative state with every
    message, the structure once.
    """
    if config.executor.structure == "sent":
        return model_of(config, classes, random_network(config, classes, "to be sent"))
    return build_model(config, classes)


def model_of(config: Config, classes: int, network: nn.Module) -> QuantitativeCopy:
    """Build the model of `build_model` from the pretrained ``network``, which `load_start` gives."""
    model: QuantitativeCopy
    if config.method.gates == "none":
        model = QuantitativeCopy(network, batch_norm=config.batch_norm)
    elif config.method.gates == "random":
        model = _dual_copy(config, random_network(config, classes, "gates"))
        model.quantitative.load_state_dict(network.state_dict())
    else:
        model = _dual_copy(config, network)
    if config.backbone.head != "keep":
        model.replace_head(classes, config.backbone.head, generator_for(config.seed, "head"))
    return model


def _dual_copy(config: Config, network: nn.Module) -> DualCopy:
    method = config.method
    return DualCopy(
        network,
        batch_norm=config.batch_norm,
        pool_gates=method.pool_gates,
        gated_from=method.gated_from,
        gated_to=method.gated_to,
    )


def structure_schedule(config: Config) -> StructureSchedule:
    """Return which structure is in force in which round."""
    method = config.method
    return StructureSchedule(method.freeze_after, method.refresh_every, method.release_after)


def training_settings(config: Config) -> TrainingSettings:
    """Return how a silo trains."""
    return TrainingSettings(
        epochs=config.local_epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        precision=config.executor.precision,
        augmentation=config.data.augmentation,
        schedule=config.learning_rate_schedule,
        rounds=config.rounds,
    )

"""The task of a run: its data set, fitted to the backbone and shared out among the silos."""

from dataclasses import replace

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.config.schema import Config
from fedsq_flwr.data import FederatedData, ServerData, SiloData, load_source, share_out
from fedsq_flwr.data.images import LabelledImages, prepare


def load_task(config: Config, silos: int) -> FederatedData:
    """Load and share out the data of ``config`` among ``silos`` silos.

    Every process of a simulation works this out alike; a silo of such a federation then looks at its
    own part only.

    Raises
    ------
    DataError
        If the data do not suffice for the silos.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    source = load_source(config.data.name)
    return share_out(
        replace(source, pool=fit_images(config, source.pool), test=fit_images(config, source.test)),
        silos=silos,
        partition=config.partition.name,
        alpha=config.partition.alpha,
        min_size=config.partition.min_size,
        validation_fraction=config.validation_fraction,
        held_out_fraction=config.data.held_out_fraction,
        min_held_out=config.data.min_held_out,
        seed=config.seed,
    )


def fit_images(config: Config, images: LabelledImages) -> LabelledImages:
    """Fit images, between 0 and 1, to the backbone: the input pipeline of training, evaluation and prediction.

    Raises
    ------
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    backbone = config.backbone
    mean, deviation = normalisation(backbone)
    return prepare(images, size=backbone.image_size, channels=backbone.in_channels, mean=mean, deviation=deviation)


def load_server_data(config: Config) -> ServerData:
    """Load what the server has of the task."""
    return load_task(config, config.silos)


def load_silo(config: Config, silo: int) -> SiloData:
    """Load a silo's own folder of images."""
    raise NotImplementedError

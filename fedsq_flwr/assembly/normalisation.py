"""The mean and std of the pixels that the input pipeline normalises by: those that the weights state."""

from types import MappingProxyType

from fedsq_flwr.data.sources import MNIST_NORMALISATION
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.models import locate_weights
from fedsq_flwr.settings.backbone import BackboneSettings

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

_MNIST: Statistics = (MNIST_NORMALISATION["mean"],), (MNIST_NORMALISATION["std"],)
_IMAGENET: Statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Random weights state none. By channels, those of the published weights that they stand in for, so that a
#: comparison with these sees the same images (our choice).
_RANDOM = MappingProxyType({1: _MNIST, 3: _IMAGENET})


def normalisation(backbone: BackboneSettings) -> Statistics:
    """Return mean and std, each one number for every channel or one for all.

    The settings ``backbone.mean`` and ``backbone.std`` win over what the weights' metadata state.

    Raises
    ------
    ConfigurationError
        If neither settings nor metadata state them, or the metadata do not fit ``backbone.in_channels``.
    WeightsError
        If the weights cannot be had.
    """
    if backbone.mean is not None and backbone.std is not None:
        return tuple(backbone.mean), tuple(backbone.std)
    if backbone.weights == "mnist":
        return _MNIST
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    if backbone.weights == "random":
        mean, std = _RANDOM.get(backbone.in_channels, (None, None))
    else:
        file = locate_weights(backbone.name, backbone.weights)
        mean, std = file.mean, file.std
    if mean is None or std is None:
        raise ConfigurationError(
            f"backbone.mean=null: backbone.weights={backbone.weights} does not state how its images were normalised; "
            "give backbone.mean and backbone.std, a list each"
        )
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, backbone.in_channels):
            raise ConfigurationError(
                f"backbone.in_channels={backbone.in_channels}: backbone.weights={backbone.weights} was normalised by "
                f"the {name} {list(values)}; give backbone.mean and backbone.std, a list each"
            )
    return mean, std

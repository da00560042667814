"""Weights that torchvision publishes, kept where torch keeps downloads (``TORCH_HOME``)."""

import logging
import re
from pathlib import Path

import torch

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.models.torch_files import TORCH_SUFFIXES
from fedsq_flwr.models.weights import SUFFIX, WeightsFile

log = logging.getLogger(__name__)


def torchvision_weights(backbone: str, name: str) -> WeightsFile:
    """Return torchvision's weights ``name`` of ``backbone``, from torch's cache or downloaded to it.

    Weights without a classifier (VGG-16's ``IMAGENET1K_FEATURES``) are not offered: the classifier, whose hidden
    layers have gates, is NaN in them.

    Raises
    ------
    WeightsError
        If there are no such weights (the message lists those that exist), or they are not on this machine
        and cannot be downloaded.
    """
    from torchvision.models import get_model_weights, list_models

    every = get_model_weights(backbone) if backbone in list_models() else ()
    published = {weights.name: weights for weights in every if weights.meta["categories"]}
    if name not in published:
        names = ", ".join(published) or "no names of torchvision's"
        raise WeightsError(
            f"backbone.weights={name}: allowed for {backbone} are {names}; or the path of a run or of a file of "
            f"weights, which ends in {', '.join((SUFFIX, *TORCH_SUFFIXES))}"
        )
    weights = published[name]
    preset = weights.transforms()
    mean, std = tuple(preset.mean), tuple(preset.std)
    if backbone == "googlenet":
        # These weights were ported from TensorFlow. torchvision takes images normalised as for all its
        # networks and turns them, inside the network, into (x - 0.5) / 0.5. Here the input pipeline does that.
        mean = std = (0.5,) * len(mean)
    digits = re.search(r"-([0-9a-f]{8,})\.", weights.url)
    begins = digits[1] if digits else ""
    return WeightsFile(
        path=_cached(name, weights.url, begins),
        source=f"torchvision {backbone} {name}, {weights.url}",
        licence=weights.meta.get("license"),
        input_size=preset.crop_size[0],
        mean=mean,
        std=std,
        sha256_begins=begins,
    )


def _cached(name: str, url: str, digits: str) -> Path:
    """Return the file of ``url`` in torch's cache; the sha256 of a downloaded file must begin with ``digits``."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    log.info("downloading %s", url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), digits, progress=False)
    except (OSError, RuntimeError) as error:  # no network, or other bytes than those published
        raise WeightsError(
            f"backbone.weights={name}: {path} is not there and cannot be downloaded "
            f"({error}); put {url} there, or give backbone.weights the path of a local file"
        ) from error
    return path

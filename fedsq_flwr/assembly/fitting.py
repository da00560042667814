"""Images as the backbone of a run wants them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.config.schema import Config
from fedsq_flwr.data import ImageFolder, read_folder
from fedsq_flwr.data.folder_layout import PARTS
from fedsq_flwr.data.pipelines import InputPipeline

log = logging.getLogger(__name__)


def load_folder(config: Config, folder: Path, parts: Sequence[str] = PARTS) -> ImageFolder:
    """Read ``parts`` of a folder of images, fitted to the backbone.

    How many files were left out is told, and how many images lose their colours.

    Raises
    ------
    DataError
        As `read_folder`.
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    log.info("reading the images of %s", folder)
    data, pipeline = config.data, image_fitter(config)
    coloured = 0

    def fit(images: Tensor) -> Tensor:
        nonlocal coloured
        # Grey pictures are often stored as three equal channels; they lose nothing.
        coloured += int(config.backbone.in_channels == 1 and not torch.equal(images, images[:, :1].expand_as(images)))
        return pipeline(images)

    read = read_folder(folder, classes=data.classes, unreadable=data.unreadable, fit=fit, parts=parts)
    for part, skipped in read.skipped.items():
        if skipped:
            files = len(read.parts[part]) + len(skipped)
            log.warning("%s: left out of %s, as unreadable: %d of %d files", folder, part, len(skipped), files)
    if coloured:
        images = sum(map(len, read.parts.values()))
        log.warning(
            "%s: %d of %d images are in colour, and become grey: backbone.in_channels=1", folder, coloured, images
        )
    return read


def image_fitter(config: Config) -> InputPipeline:
    """Return the input pipeline of training, evaluation and prediction: it fits images, between 0 and 1.

    Raises
    ------
    ConfigurationError, WeightsError
        If it cannot be told how the weights want their images.
    """
    backbone = config.backbone
    mean, std = normalisation(backbone)  # may read a file, so once for all images
    return InputPipeline(backbone.image_size, backbone.in_channels, mean, std)

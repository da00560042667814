"""Images fitted to a backbone, all at once."""

from fedsq_flwr.assembly.fitting import image_fitter
from fedsq_flwr.config import Config

from fedsq_flwr.data.images import LabelledImages


def fit_images(config: Config, images: LabelledImages) -> LabelledImages:
    """Fit images as the input pipeline of ``config`` does."""
    return LabelledImages(image_fitter(config)(images.images[:]), images.labels)

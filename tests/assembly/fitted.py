"""Images fitted to a backbone, all at once."""

from fedsq_flwr.assembly.data import image_fitter
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.settings.run import RunSettings


def fit_images(config: RunSettings, images: LabelledImages) -> LabelledImages:
    """Fit images as the input pipeline of ``config`` does."""
    return LabelledImages(image_fitter(config)(images.images[:]), images.labels)

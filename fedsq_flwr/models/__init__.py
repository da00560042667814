"""The networks that can be adapted, and the files of weights they start from."""

from fedsq_flwr.models.backbones import BACKBONES, build_backbone
from fedsq_flwr.models.loading import LoadReport, load_weights
from fedsq_flwr.models.weight_sources import WeightsFile, locate_weights
from fedsq_flwr.models.weights import save_weights, state_digest

__all__ = [
    "BACKBONES",
    "LoadReport",
    "WeightsFile",
    "build_backbone",
    "load_weights",
    "locate_weights",
    "save_weights",
    "state_digest",
]

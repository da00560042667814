"""The networks that can be adapted, and the files of weights they start from."""

from fedsq_flwr.backbones.loading import LoadReport, load_weights
from fedsq_flwr.backbones.registry import BACKBONES, build_backbone
from fedsq_flwr.backbones.sources import WeightsFile, locate_weights
from fedsq_flwr.backbones.weights import save_weights, state_digest

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

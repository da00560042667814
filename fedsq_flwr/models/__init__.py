"""Networks that can be adapted, the files of weights that they start from, and the copy of them that learns.

The quantitative copy, its head and its batch-norm policy are the same for every method, with fixed gates or without.
"""

from fedsq_flwr.models.backbones import BACKBONES, build_backbone
from fedsq_flwr.models.loading import LoadReport, load_weights
from fedsq_flwr.models.weight_sources import locate_weights
from fedsq_flwr.models.weights import WeightsFile, save_weights, state_digest

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

"""The networks that can be adapted, and the files of weights they start from."""

from fedsq_flwr.backbones.registry import BACKBONES, build_backbone
from fedsq_flwr.backbones.weights import load_weights, save_weights, state_digest

__all__ = ["BACKBONES", "build_backbone", "load_weights", "save_weights", "state_digest"]

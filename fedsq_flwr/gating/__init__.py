"""Fixed gates: the dual copy, the cache of its gates, and measurements on both.

This package and `fedsq_flwr.models` use torch, numpy and safetensors, and work without Flower.
"""

from fedsq_flwr.gating.cache import BoundGates, GateCache, bind, digest
from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.export import export_dual, export_plain
from fedsq_flwr.gating.images import Images, LazyImages
from fedsq_flwr.gating.packed.gates import Gates
from fedsq_flwr.gating.probe.affine import check_affine
from fedsq_flwr.gating.probe.averaging import AveragingGap, WeightDrift, averaging_gap, weight_drift
from fedsq_flwr.gating.probe.flips import LayerGates, fixed_gates, flip_rate, gate_flips, own_gates
from fedsq_flwr.gating.support import GateMismatchError, UnsupportedActivationError
from fedsq_flwr.models.quantitative import QuantitativeCopy

__all__ = [
    "AveragingGap",
    "BoundGates",
    "DualCopy",
    "GateCache",
    "GateMismatchError",
    "Gates",
    "Images",
    "LayerGates",
    "LazyImages",
    "QuantitativeCopy",
    "UnsupportedActivationError",
    "WeightDrift",
    "averaging_gap",
    "bind",
    "check_affine",
    "digest",
    "export_dual",
    "export_plain",
    "fixed_gates",
    "flip_rate",
    "gate_flips",
    "own_gates",
    "weight_drift",
]

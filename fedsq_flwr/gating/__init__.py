"""The science: fixed binary gates, the dual copy, and what of it may travel.

This room imports torch and numpy only, and can be used without Flower.
"""

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.gates import Gates
from fedsq_flwr.gating.probe import check_affine
from fedsq_flwr.gating.quantitative import QuantitativeCopy
from fedsq_flwr.gating.replay import GateMismatchError
from fedsq_flwr.gating.support import UnsupportedActivationError

__all__ = ["DualCopy", "GateMismatchError", "Gates", "QuantitativeCopy", "UnsupportedActivationError", "check_affine"]

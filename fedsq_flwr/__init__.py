"""FedSQ on Flower: federated fine-tuning of pretrained networks under fixed ReLU gates."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsq_flwr.federation import FedSQ, FedSQClient, answer_evaluate, answer_query, answer_train
    from fedsq_flwr.gating import DualCopy, GateCache, QuantitativeCopy, UnsupportedActivationError, check_affine

__version__ = "0.2.0"
__all__ = [
    "DualCopy",
    "FedSQ",
    "FedSQClient",
    "GateCache",
    "QuantitativeCopy",
    "UnsupportedActivationError",
    "answer_evaluate",
    "answer_query",
    "answer_train",
    "check_affine",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch and Flower take seconds to load."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fedsq_flwr import federation, gating

    return getattr(federation if hasattr(federation, name) else gating, name)

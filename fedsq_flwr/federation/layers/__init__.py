"""The layers of `FedSQ`: each wraps a strategy and adds one promise, under Flower's own loop as under ours."""

from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.layers.linear_probing import LinearProbing
from fedsq_flwr.federation.layers.model_check import ModelCheck
from fedsq_flwr.federation.layers.one_at_a_time import Kind
from fedsq_flwr.federation.layers.screening import Screening
from fedsq_flwr.federation.layers.seeded_order import SeededOrder
from fedsq_flwr.federation.layers.server_optimiser import ServerOptimiser
from fedsq_flwr.federation.layers.structure import StructureInForce
from fedsq_flwr.federation.layers.uniform_weights import UniformWeights

__all__ = [
    "Kind",
    "Layer",
    "LinearProbing",
    "ModelCheck",
    "Screening",
    "SeededOrder",
    "ServerOptimiser",
    "StructureInForce",
    "UniformWeights",
]

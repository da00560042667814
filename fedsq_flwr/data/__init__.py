"""Where images come from, how they are shared out among silos, and how they become tensors."""

from fedsq_flwr.data.federated import FederatedData, ServerData, SiloData, share_out
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.sources import SOURCES, DataSource, load_source

__all__ = [
    "SOURCES",
    "DataSource",
    "FederatedData",
    "LabelledImages",
    "ServerData",
    "SiloData",
    "load_source",
    "share_out",
]

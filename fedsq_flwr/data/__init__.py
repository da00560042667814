"""Where images come from, how they are distributed among silos, and how they become tensors."""

from fedsq_flwr.data.federated import FederatedData, ServerData, SiloData, distribute
from fedsq_flwr.data.folder_splits import folder_source, held_out_files, silo_parts
from fedsq_flwr.data.image_folder import ImageFolder, read_folder
from fedsq_flwr.data.images import LabelledImages
from fedsq_flwr.data.published import load_published
from fedsq_flwr.data.published_facts import PUBLISHED
from fedsq_flwr.data.saved_partition import SavedPartition, read_partition, reuse_partition
from fedsq_flwr.data.selection import select
from fedsq_flwr.data.sources import DataSource, load_source

__all__ = [
    "PUBLISHED",
    "DataSource",
    "FederatedData",
    "ImageFolder",
    "LabelledImages",
    "SavedPartition",
    "ServerData",
    "SiloData",
    "distribute",
    "folder_source",
    "held_out_files",
    "load_published",
    "load_source",
    "read_folder",
    "read_partition",
    "reuse_partition",
    "select",
    "silo_parts",
]

"""From settings to objects: the network, the model of a method, and the task as shared out.

Both Flower apps and the command line build their parts here, so server and silos cannot disagree.
"""

from fedsq_flwr.assembly.fitting import load_folder
from fedsq_flwr.assembly.gates import gate_cache, load_kernels
from fedsq_flwr.assembly.model import build_model, build_silo_model, model_of, structure_schedule, training_settings
from fedsq_flwr.assembly.network import describe_weights, load_network, load_start
from fedsq_flwr.assembly.task import load_raw_task, load_server_data, load_silo, load_task

__all__ = [
    "build_model",
    "build_silo_model",
    "describe_weights",
    "gate_cache",
    "load_folder",
    "load_kernels",
    "load_network",
    "load_raw_task",
    "load_server_data",
    "load_silo",
    "load_start",
    "load_task",
    "model_of",
    "structure_schedule",
    "training_settings",
]

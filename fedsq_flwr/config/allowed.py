"""What a value may be, taken alone: words and bounds.

The tables name the allowed words again rather than import the rooms that implement them, which would
load torch just to say that a word is misspelt; a test holds the two together.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fedsq_flwr.config.backbones import NETWORKS

#: Data sets that others publish, which can be had from the Hugging Face hub.
PUBLISHED = ("cifar10", "cifar100", "cinic10", "tiny_imagenet")

CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "learning_rate_schedule": ("constant", "cosine"),
        "batch_norm": ("batch", "frozen", "local"),
        "wire": ("float32", "float16", "bfloat16"),
        "data.name": ("digits", *PUBLISHED, "imagefolder"),
        "data.unreadable": ("fail", "skip"),
        "data.augmentation": ("none", "flip", "flip_crop"),
        "backbone.name": tuple(NETWORKS),
        "backbone.head": ("zeros", "normal", "keep"),
        "partition.name": ("iid", "dirichlet", "pathological", "shards", "quantity", "natural", "file"),
        "method.gates": ("pretrained", "random", "none"),
        "method.aggregation": ("fedavg", "fedprox", "fedavgm", "fedadam", "fedmedian", "none"),
        "method.weighting": ("examples", "uniform"),
        "executor.name": ("simulation", "inprocess", "silos"),
        "executor.structure": ("own", "sent"),
        "executor.precision": ("float32", "bfloat16"),
        "executor.kernels": ("torch", "native"),
    }
)

#: Names that `trackers` may list.
TRACKERS = ("tensorboard", "mlflow", "wandb")

#: setting -> (lowest value, whether it is itself allowed)
LOWER_BOUNDS: Mapping[str, tuple[float, bool]] = MappingProxyType(
    {
        "seed": (0, True),
        "rounds": (1, True),
        "silos": (1, True),
        "participation": (0, False),
        "min_replies": (1, True),
        "evaluate_every": (1, True),
        "local_epochs": (1, True),
        "batch_size": (2, True),
        "learning_rate": (0, False),
        "momentum": (0, True),
        "weight_decay": (0, True),
        "head_first_rounds": (0, True),
        "validation_fraction": (0, False),
        "diagnostics_size": (8, True),
        "data.test_fraction": (0, False),
        "data.held_out_fraction": (0, True),
        "data.min_held_out": (1, True),
        "backbone.in_channels": (1, True),
        "backbone.image_size": (8, True),
        "backbone.pretraining.epochs": (1, True),
        "backbone.pretraining.batch_size": (2, True),
        "backbone.pretraining.learning_rate": (0, False),
        "backbone.pretraining.seed": (0, True),
        "partition.alpha": (0, False),
        "partition.classes_per_silo": (1, True),
        "partition.shards_per_silo": (1, True),
        "partition.min_size": (1, True),
        "method.gated_from": (0, True),
        "method.gated_to": (0, False),
        "method.mu": (0, True),
        "method.server_learning_rate": (0, False),
        "method.server_momentum": (0, True),
        "method.beta2": (0, True),
        "method.tau": (0, True),
        "method.freeze_after": (0, True),
        "method.refresh_every": (0, True),
        "method.release_after": (0, True),
        "executor.client_cpus": (1, True),
        "executor.client_gpus": (0, True),
        "executor.threads": (1, True),
        "executor.workers": (0, True),
        "executor.gate_cache_bytes": (0, True),
        "executor.round_timeout": (0, False),
        "executor.join_timeout": (0, False),
    }
)

#: setting -> (highest value, whether it is itself allowed)
UPPER_BOUNDS: Mapping[str, tuple[float, bool]] = MappingProxyType(
    {
        "participation": (1, True),
        "momentum": (1, False),
        "method.gated_from": (1, False),
        "method.gated_to": (1, True),
        "method.server_momentum": (1, False),
        "method.beta2": (1, False),
        "validation_fraction": (1, False),
        "data.test_fraction": (1, False),
        "data.held_out_fraction": (1, False),
    }
)


def interval(name: str) -> str:
    """Say what the bounds of a setting allow."""
    words = []
    if name in LOWER_BOUNDS:
        low, included = LOWER_BOUNDS[name]
        words.append(f"{'at least' if included else 'above'} {low:g}")
    if name in UPPER_BOUNDS:
        high, included = UPPER_BOUNDS[name]
        words.append(f"{'at most' if included else 'below'} {high:g}")
    return "must be " + " and ".join(words)

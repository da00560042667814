"""What the types cannot say: allowed values, checked before any work starts.

The tables name the allowed words again rather than import the rooms that implement them, which would
load torch just to say that a word is misspelt; a test holds the two together.
"""

import math
import re
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from types import MappingProxyType

from fedsq_flwr.config.backbones import NETWORKS, complaints
from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError

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
        "method.mu": (0, True),
        "method.server_learning_rate": (0, False),
        "method.server_momentum": (0, True),
        "method.beta2": (0, True),
        "method.tau": (0, True),
        "method.freeze_after": (0, True),
        "method.refresh_every": (0, True),
        "method.release_after": (0, True),
        "method.release_over": (0, True),
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
        "method.server_momentum": (1, False),
        "method.beta2": (1, False),
        "validation_fraction": (1, False),
        "data.test_fraction": (1, False),
        "data.held_out_fraction": (1, False),
    }
)

#: setting of a method -> (its value where it has no effect, the aggregations that it has an effect in)
_OF_AGGREGATIONS: Mapping[str, tuple[int, tuple[str, ...]]] = MappingProxyType(
    {
        "mu": (0, ("fedprox",)),
        "server_learning_rate": (1, ("fedavgm", "fedadam")),
        "server_momentum": (0, ("fedavgm", "fedadam")),
        "beta2": (0, ("fedadam",)),
        "tau": (0, ("fedadam",)),
    }
)


def validate(config: Config) -> None:
    """Check every value of ``config``.

    Raises
    ------
    ConfigurationError
        One line that names the first bad setting, its value and what is allowed.
    """
    for name, allowed in CHOICES.items():
        _require(config, name, _setting(config, name) in allowed, f"allowed are {', '.join(allowed)}")
    for name in dict.fromkeys([*LOWER_BOUNDS, *UPPER_BOUNDS]):
        value = float(_setting(config, name))  # type: ignore[arg-type]
        low, low_allowed = LOWER_BOUNDS.get(name, (-math.inf, True))
        high, high_allowed = UPPER_BOUNDS.get(name, (math.inf, True))
        inside = (value >= low if low_allowed else value > low) and (value <= high if high_allowed else value < high)
        _require(config, name, inside and math.isfinite(value), _interval(name))
    _check_relations(config)


def _check_relations(config: Config) -> None:
    _require(config, "output", config.output.strip() != "", "must name a directory")
    sampled = max(1, int(config.silos * config.participation))
    _require(config, "min_replies", config.min_replies <= sampled, f"at most the {sampled} silos of a round")
    known = set(config.trackers) <= set(TRACKERS) and len(set(config.trackers)) == len(config.trackers)
    _require(config, "trackers", known, f"must be a list of {', '.join(TRACKERS)}, each once at most")
    _check_silos(config)
    pooled = config.method.pooled
    _require(config, "silos", not pooled or config.silos == 1, "must be 1 where method.pooled: it has all samples")
    _check_aggregation(config)
    _check_data(config)
    _check_partition(config)
    _check_structure(config)
    _require(
        config,
        "resume",
        not (config.resume and config.batch_norm == "local"),
        "not with batch_norm=local: the silos keep their batch norm for the length of a run only",
    )
    for name, allowed in complaints(config.backbone):
        _require(config, f"backbone.{name}", False, allowed)
    alone = config.executor.name == "inprocess" and NETWORKS[config.backbone.name].dropout
    allowed = f"must be 0 or 1 in-process for {config.backbone.name}: threads would share its dropout's generator"
    _require(config, "executor.workers", not alone or config.executor.workers <= 1, allowed)


def _check_silos(config: Config) -> None:
    enough = config.min_silos is None or 1 <= config.min_silos <= config.silos
    _require(config, "min_silos", enough, f"must be null or 1 to {config.silos}, the number of silos")
    own = config.executor.structure != "sent" or config.batch_norm == "batch"
    kept = f"must be own with batch_norm={config.batch_norm}, whose statistics are those of the silo's own weights"
    _require(config, "executor.structure", own, kept)


def check_files(config: Config) -> None:
    """Check that the folder of images and the saved partition are there, and that the output is elsewhere.

    A run needs them; whoever uses a run's model does not.

    Raises
    ------
    ConfigurationError
        One line, if one is not there and data are to be shared out among silos; or if the run's directory would
        lie among the images.
    """
    if config.executor.name == "silos":
        return
    if config.data.path is not None:
        place = Path(config.data.path).expanduser()
        there = place.is_dir() or (config.data.name in PUBLISHED and place.is_file())  # a file: an archive
        _require(config, "data.path", there, "there is no such folder")
        check_output(config.output, config.data.name, config.data.path)
    if config.partition.file is not None:
        saved = Path(config.partition.file).expanduser()
        _require(config, "partition.file", saved.exists(), "there is no such file")
        is_runs = not saved.is_dir() or (saved / "partition.json").is_file()
        _require(config, "partition.file", is_runs, "has no partition.json; name one run's directory, or its file")


def check_output(output: str, data: str, folder: str | None) -> None:
    """Check that an output does not lie in the user's own folder of images, where its folders would be classes.

    Parameters
    ----------
    output, data, folder : str
        The settings ``output``, ``data.name`` and ``data.path``.

    Raises
    ------
    ConfigurationError
        One line, if it does.
    """
    if data != "imagefolder" or folder is None:
        return
    if Path(output).expanduser().resolve().is_relative_to(Path(folder).expanduser().resolve()):
        raise ConfigurationError(f"output={output}: must not lie in the folder of images, data.path={folder}")


def _check_data(config: Config) -> None:
    data = config.data
    has_files = data.name != "digits"
    _require(config, "data.path", has_files or data.path is None, "must be null for digits, which need no files")
    own_folders = data.name == "imagefolder" and config.executor.name == "silos"
    named = data.name != "imagefolder" or own_folders if data.path is None else data.path.strip() != ""
    _require(config, "data.path", named, "must name a folder of images")
    if data.name in PUBLISHED:
        commit = data.revision is not None and re.fullmatch("[0-9a-f]{40}", data.revision) is not None
        _require(config, "data.revision", commit, "must be a commit of the hub, 40 hexadecimal digits")
    else:
        _require(config, "data.revision", data.revision is None, f"must be null for {data.name}, which is no hub's")
    for name in ("limit", "test_limit"):
        limit = getattr(data, name)
        _require(config, f"data.{name}", limit is None or limit >= 1, "must be null or at least 1")
        whole = limit is None or not own_folders
        _require(config, f"data.{name}", whole, "must be null for real silos, who learn from all that they have")
    if data.classes is not None:
        names = [name.strip() for name in data.classes]
        distinct = len(names) >= 2 and all(names) and len(set(names)) == len(names)
        _require(config, "data.classes", distinct, "must be null or at least 2 names that differ")


def _check_partition(config: Config) -> None:
    partition = config.partition
    reused = partition.name == "file"
    _require(config, "partition.file", reused or partition.file is None, "must be null unless partition.name is file")
    named = not reused or (partition.file is not None and partition.file.strip() != "")
    _require(config, "partition.file", named, "must name a run's partition.json, or its directory")
    _require(config, "partition.groups", partition.groups.strip() != "", "must name a CSV file")
    _require(
        config, "partition.seed", not reused or partition.seed is None, "must be null where partition.name is file"
    )
    _require(config, "partition.seed", partition.seed is None or partition.seed >= 0, "must be null or at least 0")


def _check_aggregation(config: Config) -> None:
    method = config.method
    for name, (unused, users) in _OF_AGGREGATIONS.items():
        used = method.aggregation in users or getattr(method, name) == unused
        rule = f"must be {unused} unless method.aggregation is {' or '.join(users)}"
        _require(config, f"method.{name}", used, rule)
    _require(config, "method.tau", method.tau > 0 or method.aggregation != "fedadam", "must be above 0 with fedadam")
    if method.aggregation in ("fedmedian", "none"):
        weightless = f"must be examples where method.aggregation is {method.aggregation}, which weights nothing"
        _require(config, "method.weighting", method.weighting == "examples", weightless)
    if method.aggregation == "none":
        rule = "must be 0 where method.aggregation is none: there is no global model"
        for name in ("freeze_after", "refresh_every"):
            _require(config, f"method.{name}", getattr(method, name) == 0, rule)
        _require(config, "diagnostics", not config.diagnostics, "must be false where method.aggregation is none")


def _check_structure(config: Config) -> None:
    method = config.method
    pooled = method.pool_gates or method.gates != "none"
    _require(config, "method.pool_gates", pooled, "must be true where method.gates is none")
    for name in ("freeze_after", "refresh_every", "release_after"):
        gated = method.gates != "none" or getattr(method, name) == 0
        _require(config, f"method.{name}", gated, "must be 0 where method.gates is none")
    from_the_start = method.freeze_after == 0 or method.gates == "pretrained"
    _require(config, "method.freeze_after", from_the_start, "must be 0 unless method.gates is pretrained")
    ends = method.release_over == 0 or method.release_after > 0
    _require(config, "method.release_over", ends, "must be 0 unless method.release_after is above 0")
    in_order = method.release_after == 0 or method.release_after > method.freeze_after
    _require(config, "method.release_after", in_order, "must be 0 or above method.freeze_after")
    for name in ("freeze_after", "refresh_every"):
        averaged = config.batch_norm != "local" or getattr(method, name) == 0
        _require(config, f"method.{name}", averaged, "must be 0 with batch_norm=local: no batch norm is averaged")


def _require(config: Config, name: str, holds: bool, allowed: str) -> None:
    if not holds:
        value = " ".join(str(_setting(config, name)).split())
        raise ConfigurationError(f"{name}={value}: {allowed}")


def _setting(config: Config, name: str) -> object:
    return reduce(getattr, name.split("."), config)


def _interval(name: str) -> str:
    words = []
    if name in LOWER_BOUNDS:
        low, included = LOWER_BOUNDS[name]
        words.append(f"{'at least' if included else 'above'} {low:g}")
    if name in UPPER_BOUNDS:
        high, included = UPPER_BOUNDS[name]
        words.append(f"{'at most' if included else 'below'} {high:g}")
    return "must be " + " and ".join(words)

"""What settings require of each other."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from fedsq_flwr.config.allowed import PUBLISHED, TRACKERS
from fedsq_flwr.config.backbones import NETWORKS, complaints
from fedsq_flwr.config.requirements import require
from fedsq_flwr.config.schema import Config

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


def check_relations(config: Config) -> None:
    """Check the settings against each other, each value being allowed by itself.

    Raises
    ------
    ConfigurationError
        One line that names the first bad setting, its value and what is allowed.
    """
    require(config, "output", config.output.strip() != "", "must name a directory")
    sampled = max(1, int(config.silos * config.participation))
    require(config, "min_replies", config.min_replies <= sampled, f"at most the {sampled} silos of a round")
    known = set(config.trackers) <= set(TRACKERS) and len(set(config.trackers)) == len(config.trackers)
    require(config, "trackers", known, f"must be a list of {', '.join(TRACKERS)}, each once at most")
    _check_silos(config)
    pooled = config.method.pooled
    require(config, "silos", not pooled or config.silos == 1, "must be 1 where method.pooled: it has all samples")
    _check_aggregation(config)
    _check_data(config)
    _check_partition(config)
    _check_structure(config)
    require(
        config,
        "resume",
        not (config.resume and config.batch_norm == "local"),
        "not with batch_norm=local: the silos keep their batch norm for the length of a run only",
    )
    for name, allowed in complaints(config.backbone):
        require(config, f"backbone.{name}", False, allowed)
    alone = config.executor.name == "inprocess" and NETWORKS[config.backbone.name].dropout
    allowed = f"must be 0 or 1 in-process for {config.backbone.name}: threads would share its dropout's generator"
    require(config, "executor.workers", not alone or config.executor.workers <= 1, allowed)


def _check_silos(config: Config) -> None:
    enough = config.min_silos is None or 1 <= config.min_silos <= config.silos
    require(config, "min_silos", enough, f"must be null or 1 to {config.silos}, the number of silos")
    own = config.executor.structure != "sent" or config.batch_norm == "batch"
    kept = f"must be own with batch_norm={config.batch_norm}, whose statistics are those of the silo's own weights"
    require(config, "executor.structure", own, kept)


def _check_data(config: Config) -> None:
    data = config.data
    has_files = data.name != "digits"
    require(config, "data.path", has_files or data.path is None, "must be null for digits, which need no files")
    own_folders = data.name == "imagefolder" and config.executor.name == "silos"
    named = data.name != "imagefolder" or own_folders if data.path is None else data.path.strip() != ""
    require(config, "data.path", named, "must name a folder of images")
    if data.name in PUBLISHED:
        commit = data.revision is not None and re.fullmatch("[0-9a-f]{40}", data.revision) is not None
        require(config, "data.revision", commit, "must be a commit of the hub, 40 hexadecimal digits")
    else:
        require(config, "data.revision", data.revision is None, f"must be null for {data.name}, which is no hub's")
    for name in ("limit", "test_limit"):
        limit = getattr(data, name)
        require(config, f"data.{name}", limit is None or limit >= 1, "must be null or at least 1")
        whole = limit is None or not own_folders
        require(config, f"data.{name}", whole, "must be null for real silos, who learn from all that they have")
    if data.classes is not None:
        names = [name.strip() for name in data.classes]
        distinct = len(names) >= 2 and all(names) and len(set(names)) == len(names)
        require(config, "data.classes", distinct, "must be null or at least 2 names that differ")


def _check_partition(config: Config) -> None:
    partition = config.partition
    reused = partition.name == "file"
    require(config, "partition.file", reused or partition.file is None, "must be null unless partition.name is file")
    named = not reused or (partition.file is not None and partition.file.strip() != "")
    require(config, "partition.file", named, "must name a run's partition.json, or its directory")
    require(config, "partition.groups", partition.groups.strip() != "", "must name a CSV file")
    require(
        config, "partition.seed", not reused or partition.seed is None, "must be null where partition.name is file"
    )
    require(config, "partition.seed", partition.seed is None or partition.seed >= 0, "must be null or at least 0")


def _check_aggregation(config: Config) -> None:
    method = config.method
    for name, (unused, users) in _OF_AGGREGATIONS.items():
        used = method.aggregation in users or getattr(method, name) == unused
        rule = f"must be {unused} unless method.aggregation is {' or '.join(users)}"
        require(config, f"method.{name}", used, rule)
    require(config, "method.tau", method.tau > 0 or method.aggregation != "fedadam", "must be above 0 with fedadam")
    if method.aggregation in ("fedmedian", "none"):
        weightless = f"must be examples where method.aggregation is {method.aggregation}, which weights nothing"
        require(config, "method.weighting", method.weighting == "examples", weightless)
    if method.aggregation == "none":
        rule = "must be 0 where method.aggregation is none: there is no global model"
        for name in ("freeze_after", "refresh_every"):
            require(config, f"method.{name}", getattr(method, name) == 0, rule)
        require(config, "diagnostics", not config.diagnostics, "must be false where method.aggregation is none")


def _check_structure(config: Config) -> None:
    method = config.method
    pooled = method.pool_gates or method.gates != "none"
    require(config, "method.pool_gates", pooled, "must be true where method.gates is none")
    for name, whole in (("gated_from", 0), ("gated_to", 1)):
        used = getattr(method, name) == whole or method.gates != "none"
        require(config, f"method.{name}", used, f"must be {whole} where method.gates is none")
    require(config, "method.gated_to", method.gated_to > method.gated_from, "must be above method.gated_from")
    for name in ("freeze_after", "refresh_every", "release_after"):
        gated = method.gates != "none" or getattr(method, name) == 0
        require(config, f"method.{name}", gated, "must be 0 where method.gates is none")
    from_the_start = method.freeze_after == 0 or method.gates == "pretrained"
    require(config, "method.freeze_after", from_the_start, "must be 0 unless method.gates is pretrained")
    in_order = method.release_after == 0 or method.release_after > method.freeze_after
    require(config, "method.release_after", in_order, "must be 0 or above method.freeze_after")
    for name in ("freeze_after", "refresh_every"):
        averaged = config.batch_norm != "local" or getattr(method, name) == 0
        require(config, f"method.{name}", averaged, "must be 0 with batch_norm=local: no batch norm is averaged")

"""What is a silo's own business: its data, its weights, its disk, its device.

A run's settings come from whoever started it; these come from the silo's operator, in Flower's node
config, and win. In a simulation there are none.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsq_flwr.config.backbones import NETWORKS, is_anywhere
from fedsq_flwr.config.explanation import no_such_setting
from fedsq_flwr.config.schema import BackboneConfig, Config, PartitionConfig
from fedsq_flwr.errors import ConfigurationError

#: Keys of the node config that say which silo a node is.
PARTITION_ID, NUM_PARTITIONS = "partition-id", "num-partitions"
#: The folders of YAML files that a run's overrides may choose from.
GROUPS = ("backbone", "data", "executor", "experiment", "method", "partition")
_NAME = re.compile(r"\w[\w-]*")
_EXPERIMENT = re.compile(rf"({_NAME.pattern}/)*{_NAME.pattern}")  # recipes lie in a folder of their own
_SETTINGS = frozenset(field.name for field in dataclasses.fields(Config)) | frozenset(GROUPS)
_KEYS = ("data-path", "weights", "state-dir", "device", "gate-cache-bytes")


@dataclass(frozen=True)
class Site:
    """A silo's own settings; None: as the run says.

    Attributes
    ----------
    data_path : str
        Folder of images, with a folder a class, or ``train`` and ``validation`` with these.
    weights : str
        File of pretrained weights.
    state_dir : str
        Where the silo keeps gates, structures that it was sent, and weights that it pretrained.
    device : str
        As ``executor.device``.
    gate_cache_bytes : int
        As ``executor.gate_cache_bytes``.
    """

    data_path: str | None = None
    weights: str | None = None
    state_dir: str | None = None
    device: str | None = None
    gate_cache_bytes: int | None = None

    @property
    def is_real(self) -> bool:
        """Whether this is a silo of its own, and not one of a simulation."""
        return self != Site()


def read_site(node_config: Mapping[str, object]) -> Site:
    """Read a silo's own settings from Flower's node config.

    Raises
    ------
    ConfigurationError
        If it holds a key that is not known, or a value of another type.
    """
    allowed = (PARTITION_ID, NUM_PARTITIONS, *_KEYS)
    for key, value in node_config.items():
        if key not in allowed:
            raise ConfigurationError(f"node config {key}={value}: there is no such setting; allowed are {allowed}")
    values = {key.replace("-", "_"): node_config[key] for key in _KEYS if key in node_config}
    for name, value in values.items():
        kind = int if name == "gate_cache_bytes" else str
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigurationError(f"node config {name.replace('_', '-')}={value}: must be of type {kind.__name__}")
    return Site(**values)  # type: ignore[arg-type]


def at_site(config: Config, site: Site) -> Config:
    """Return ``config`` as it holds at a silo: its own settings instead of the run's.

    Raises
    ------
    ConfigurationError
        If the run names a file of weights, which is one of the server's, and the silo has none of its own; or a
        partition, which is one of the server's too, and the silo has no images of its own.
    """
    if not site.is_real:
        return config
    state = Path(site.state_dir or "~/.cache/fedsq_flwr").expanduser()
    executor = dataclasses.replace(
        config.executor,
        device=site.device or "auto",
        gate_cache_dir=str(state / "gates"),
        gate_cache_bytes=config.executor.gate_cache_bytes if site.gate_cache_bytes is None else site.gate_cache_bytes,
    )
    return dataclasses.replace(
        config,
        cache_dir=str(state),
        data=dataclasses.replace(config.data, path=site.data_path if config.data.name == "imagefolder" else None),
        backbone=_backbone(config, site),
        partition=_partition(config, site),
        executor=executor,
    )


def _partition(config: Config, site: Site) -> PartitionConfig:
    """Return the run's partition without a file of the server's; a silo with images of its own has what it has."""
    if config.partition.file is None:
        return config.partition
    if site.data_path is None:  # not looked for here, as with weights
        name = Path(config.partition.file).name
        raise ConfigurationError(f"partition.file={name}: is a file of the server's; this silo has none of its own")
    return dataclasses.replace(config.partition, name="iid", file=None)


def _backbone(config: Config, site: Site) -> BackboneConfig:
    backbone = config.backbone
    if config.executor.structure == "sent":  # nothing is loaded; the head comes with the first message
        head = "zeros" if NETWORKS[backbone.name].linear_head else backbone.head
        return dataclasses.replace(backbone, weights="random", head=head)
    if site.weights is not None:
        return dataclasses.replace(backbone, weights=site.weights)
    if not is_anywhere(backbone.weights):  # not looked for here: the server is not told what there is
        raise ConfigurationError(
            f"backbone.weights={Path(backbone.weights).name}: is a file of the server's; give this silo its own "
            "(weights=FILE), or run with executor.structure=sent"
        )
    return backbone


def refuse_unsafe_overrides(overrides: Sequence[str]) -> None:
    """Refuse overrides from elsewhere that would have Hydra look around on this machine.

    An interpolation could read an environment variable into an error message that the server is sent, Hydra's
    own settings reach its search path, and ``data=../../x`` would read any YAML file. So would a name that is no
    setting: Hydra takes every folder beside its files for a group, ``__pycache__`` among them.

    Raises
    ------
    ConfigurationError
        Names the override.
    """
    for override in overrides:
        name, _, value = override.partition("=")
        group = name.strip().lstrip("+~").strip()
        # Hydra takes backslashes out: $\{...\} is an interpolation, too.
        if "${" in override.replace("\\", "") or group.startswith("hydra"):
            raise ConfigurationError(f"{name}: interpolations and hydra.* are not taken by silos")
        if group == "calibration":
            raise ConfigurationError(f"{override}: silos read no file that a run names; fedsq run puts its values in")
        allowed = _EXPERIMENT if group == "experiment" else _NAME
        if "/" in group or "@" in group or (group in GROUPS and not allowed.fullmatch(value.strip())):
            raise ConfigurationError(f"{override}: silos take a group's name and that of one of its files only")
        if group.partition(".")[0] not in _SETTINGS:
            raise ConfigurationError(no_such_setting(group))

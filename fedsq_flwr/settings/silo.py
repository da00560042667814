"""What the operator of a silo decides, and how it takes the place of what a run says."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.settings.backbone import is_anywhere
from fedsq_flwr.settings.base import Settings, Text, flat
from fedsq_flwr.settings.data import ImageFolderData
from fedsq_flwr.settings.executor import Device, is_address
from fedsq_flwr.settings.fields import Fact, catalogue, facts_of
from fedsq_flwr.settings.mistakes import written
from fedsq_flwr.settings.partition import Iid, SavedPartition
from fedsq_flwr.settings.run import RunSettings

#: Keys of Flower's node config that say which silo a node is.
PARTITION_ID, NUM_PARTITIONS = "partition-id", "num-partitions"
STATE_DIR = "~/.cache/fedsq_flwr"
#: Runs of which a silo keeps the models, and its own reports.
KEEP_MODELS, KEEP_REPORTS = 10, 50
#: The most characters of a silo's name.
LONGEST_NAME = 40
Minutes = Annotated[float, Field(ge=0, le=10_000)]


def check_name(name: str) -> str:
    """Return the name of a silo.

    Raises
    ------
    ValueError
        If it is no name.
    """
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip()):
        raise ValueError(f"must be 1 to {LONGEST_NAME} printable characters, without a space at either end")
    return name


SiloName = Annotated[Text, AfterValidator(check_name)]


class PrivacySettings(Settings):
    """What a silo enforces, whatever a run says: see docs/how-to/privacy.md."""

    unit: Literal["record", "silo"]
    """What is protected: each image (DP-SGD), or all images of the silo together (one noised update a round)."""
    clip: Annotated[float, Field(ge=1e-6, le=1e6)]
    """Largest norm of an image's gradient, or of the silo's update."""
    noise_multiplier: Annotated[float, Field(ge=0.1, le=1e6)]
    """Standard deviation of the noise, as a multiple of ``privacy.clip``."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The delta that epsilon is counted at; well below one over the number of images."""
    max_epsilon: Annotated[float, Field(gt=0)]
    """Largest epsilon of all runs together; beyond it the silo refuses."""
    min_samples: Annotated[int, Field(ge=1)] = 1
    """Fewest images to train with; also the number that is told where ``privacy.measures`` is none."""
    measures: Literal["none", "rounded", "noised"] = "none"
    """How numbers of images, losses and accuracies leave: not at all, rounded (beyond epsilon), or noised."""
    measures_noise: Annotated[float, Field(ge=0.1, le=1e6)] = 10.0
    """Standard deviation of the noise on noised numbers, in images."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        bounded = self.measures != "noised" or self.unit == "record"
        self.require(bounded, "measures", "must be none or rounded with unit=silo", "privacy.")
        return self


class Site(Settings):
    """What is a silo's own business in every run: its data, its weights, its disk, its device.

    Flower carries these values in the node config, under names with dashes. In a simulation there are none.
    """

    name: SiloName | None = None
    """What the silo is called in the server's logs, history and report."""
    data_path: Annotated[Text | None, Fact.PATH] = None
    """Folder of images, with a folder a class, or ``train`` and ``validation`` with these; null: as the run says."""
    weights: Annotated[Text | None, Fact.PATH] = None
    """File of pretrained weights; null: as the run says."""
    state_dir: Annotated[Text | None, Fact.PATH] = None
    """Folder for gates, structures that the server sent, and weights that were pretrained here."""
    device: Device | None = None
    """As ``executor.device``."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """As ``executor.threads``; null: as the run says."""
    gate_cache_bytes: Annotated[int, Field(ge=0)] | None = None
    """As ``executor.gate_cache_bytes``."""
    keep_models: Annotated[int, Field(ge=0)] | None = None
    """Runs whose models are kept in ``state_dir``, the newest; 0: none is taken."""
    keep_reports: Annotated[int, Field(ge=0)] | None = None
    """Runs whose figures and pages of its own the silo keeps in ``state_dir``, the newest; 0: none are made."""
    local_model: bool = False
    """Whether the silo also trains a model alone, for its own report."""
    keep_predictions: bool = False
    """Whether the silo keeps what models say of each of its held-out images, beside its own report."""
    checkpoint_minutes: Minutes | None = None
    """Minutes between two writings of a training in progress; null and 0: it is not written."""
    privacy: PrivacySettings | None = None
    """What the silo enforces; needs ``state_dir``. In the node config it is JSON."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kept = self.privacy is None or self.state_dir is not None
        self.require(kept, "state_dir", "must be given with privacy, whose ledger lies there")
        _check_reports(self)
        return self

    @property
    def is_real(self) -> bool:
        """Whether this is a silo of its own, and not one of a simulation."""
        return self != Site()


class SiloSettings(Settings):
    """The settings of one silo, as its operator writes them."""

    superlink: Text
    """``HOST:PORT`` of the SuperLink."""
    silo: Annotated[int, Field(ge=0)]
    """Number of the silo, from 0."""
    silos: Annotated[int, Field(ge=1)]
    """How many silos take part."""
    name: SiloName | None = None
    """What the silo is called in logs, history and report, beside its number; no two silos have one name."""
    data_path: Annotated[Text, Fact.PATH]
    """Folder of images, with a folder a class, or ``train`` and ``validation`` with these."""
    private_key: Annotated[Text | None, Fact.PATH] = None
    """The node's key, in OpenSSH's format; null: the server knows no keys."""
    root_certificates: Annotated[Text | None, Fact.PATH] = None
    """File of the authority that the server is verified by; null: the authorities of the system."""
    insecure: bool = False
    """Plain HTTP, for trials on one machine."""
    weights: Annotated[Text | None, Fact.PATH] = None
    """File of pretrained weights; null: as the run says."""
    state_dir: Annotated[Text, Fact.PATH] = STATE_DIR
    """Folder for gates, structures that the server sent, and weights that were pretrained here."""
    gate_cache_bytes: Annotated[int, Field(ge=0)] = 2**30
    """Bytes that gates may take in ``state_dir``."""
    device: Device = "auto"
    """Device to train and evaluate on: auto, cpu, cuda, cuda:N or mps."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Torch threads of a silo at work; null: as the run says."""
    keep_models: Annotated[int, Field(ge=0)] = KEEP_MODELS
    """Runs whose models are kept in ``state_dir/models``, the newest, as the server sends them; 0: none is taken."""
    keep_reports: Annotated[int, Field(ge=0)] = KEEP_REPORTS
    """Runs whose site reports are kept in ``state_dir/reports``, the newest; 0: none are made."""
    local_model: bool = False
    """Whether a model is trained on the silo's images alone beside the federation's, for the site report: each round
    takes twice as long here."""
    keep_predictions: bool = False
    """Whether what the models say of each held-out image is kept beside the site report, as CSV with file names."""
    checkpoint_minutes: Minutes = 10.0
    """Minutes between two writings of a training in progress to ``state_dir``, from which a silo that was killed goes
    on when it is asked again; 0: never. A silo with ``privacy`` never writes."""
    health_file: Annotated[Text | None, Fact.PATH] = None
    """File that is rewritten every half minute while the silo is connected, and gone otherwise; null: none."""
    privacy: PrivacySettings | None = None
    """What the silo enforces, whatever a run says; null: nothing beyond what every silo does."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.require(is_address(self.superlink), "superlink", "must be HOST:PORT")
        self.require(self.silo < self.silos, "silo", f"must be 0 to {self.silos - 1}")
        for name in ("private_key", "root_certificates"):
            plain = self.insecure and getattr(self, name) is not None
            self.require(not plain, name, "must be null with insecure=true, which is for trials on one machine")
        kept = self.privacy is None or "state_dir" in self.model_fields_set
        self.require(kept, "state_dir", "must be given with privacy, whose ledger lies there and must be kept")
        _check_reports(self)
        return self

    def check_files(self) -> None:
        """Check that the files and the folder of images are there.

        Raises
        ------
        ConfigurationError
            One line that names the setting.
        """
        self.require(Path(self.data_path).is_dir(), "data_path", "there is no such folder")
        for name in ("private_key", "root_certificates", "weights"):
            path = getattr(self, name)
            self.require(path is None or Path(path).is_file(), name, "there is no such file")

    @property
    def title(self) -> str:
        """The silo's number and how many there are, with its name."""
        return f"{self.silo} of {self.silos}{titled(self.name)}"

    def site(self) -> Site:
        """Return what concerns a run."""
        return Site.parse({name: value for name, value in self.plain().items() if name in Site.model_fields})

    def node_config(self) -> dict[str, str | int]:
        """Return the number of the silo and what concerns a run, as Flower's node config."""
        own = {_dashed(name): value for name, value in self.site().plain().items() if value is not None}
        if self.privacy is not None:
            own["privacy"] = json.dumps(own["privacy"])
        return {PARTITION_ID: self.silo, NUM_PARTITIONS: self.silos, **own}


def titled(name: str | None) -> str:
    """Return what stands behind the number of a silo: its name in brackets, if it has one."""
    return f" ({name})" if name else ""


def read_site(node_config: Mapping[str, object]) -> Site:
    """Read a silo's own settings from Flower's node config.

    Raises
    ------
    ConfigurationError
        If it holds a key that is not known, or a value that is not allowed.
    """
    names = {_dashed(name): name for name in Site.model_fields}
    own = {key: value for key, value in node_config.items() if key not in (PARTITION_ID, NUM_PARTITIONS)}
    for key, value in own.items():
        if key not in names:
            told = f"{key}={written(value)}: there is no such setting, allowed are {', '.join(names)}"
            raise ConfigurationError(f"node config {told}")
    try:
        return Site.parse(
            {names[key]: _read_json(value) if key == "privacy" else value for key, value in own.items()}
        )
    except ConfigurationError as error:
        name, equals, rest = str(error).partition("=")
        raise ConfigurationError(f"node config {_dashed(name)}{equals}{rest}") from error


def _read_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"privacy={written(value)}: must be JSON") from error


def for_real_silos(settings: RunSettings) -> RunSettings:
    """Return what real silos are told of a run: no path and no address of the server's; of a file its name alone.

    A silo that would need such a file is told so by its name, see `at_site`.
    """
    changes: dict[str, dict[str, Any] | Any] = {}
    for name, value in flat(settings.plain()).items():
        if value is not None and facts_of(RunSettings, name) & {Fact.PATH, Fact.PLACE} and name != "partition.file":
            group, _, last = name.rpartition(".")
            level = changes.setdefault(group, {}) if group else changes
            level[last] = catalogue(RunSettings)[name].default
    if isinstance(settings.partition, SavedPartition):
        changes["partition"] = {"file": Path(settings.partition.file).name}
    if not is_anywhere(settings.backbone.weights):
        changes["backbone"] = {"weights": Path(settings.backbone.weights).name}
    return settings.changed(**changes, trackers=(), resume=False)


def at_site(settings: RunSettings, site: Site) -> RunSettings:
    """Return the settings of a run as they hold at a silo: the silo's own in place of the run's.

    Raises
    ------
    ConfigurationError
        If the run names a file of weights or a partition, which lie at the server, and the silo has none of its own.
    """
    if not site.is_real:
        return settings
    state = state_folder(site)
    executor: dict[str, Any] = {"device": site.device or "auto", "gate_cache_dir": str(state / "gates")}
    if site.gate_cache_bytes is not None:
        executor["gate_cache_bytes"] = site.gate_cache_bytes
    if site.threads is not None:
        executor["threads"] = site.threads
    changes: dict[str, Any] = {"cache_dir": str(state), "executor": executor, "backbone": _backbone(settings, site)}
    if isinstance(settings.data, ImageFolderData):
        changes["data"] = {"path": site.data_path}
        if site.privacy is not None:  # a split that is drawn would move other images when one is added
            changes["data"] |= {"held_out_fraction": 0.0, "unreadable": "skip"}  # whether one is there is not told
    elif hasattr(settings.data, "path"):
        changes["data"] = {"path": None}
    if isinstance(settings.partition, SavedPartition):
        if site.data_path is None:  # not looked for here, as with weights
            name = Path(settings.partition.file).name
            raise ConfigurationError(
                f"partition.file={name}: is a file of the server's; this silo has none of its own"
            )
        changes["partition"] = Iid(min_size=settings.partition.min_size)  # a silo has what it has
    return settings.changed(**changes)


def _check_reports(silo: Site | SiloSettings) -> None:
    for name in ("local_model", "keep_predictions"):
        useful = silo.keep_reports != 0 or not getattr(silo, name)
        silo.require(useful, name, "must be false with keep_reports=0: it is for the silo's own report")


def state_folder(site: Site) -> Path:
    """Return the folder that a real silo keeps its files in."""
    return Path(site.state_dir or STATE_DIR).expanduser()


def reports_folder(site: Site) -> Path:
    """Return the folder of a real silo's own reports, a folder a run."""
    return state_folder(site) / "reports"


def reports_kept(site: Site) -> int:
    """Return of how many runs a silo keeps its own reports; those of a simulation make none."""
    if not site.is_real:
        return 0
    return KEEP_REPORTS if site.keep_reports is None else site.keep_reports


def models_kept(site: Site) -> int:
    """Return of how many runs a silo keeps the models; those of a simulation keep none."""
    if not site.is_real:
        return 0
    return KEEP_MODELS if site.keep_models is None else site.keep_models


def models_folder(site: Site) -> Path:
    """Return the folder of the models that a real silo was given."""
    return state_folder(site) / "models"


def privacy_folder(site: Site) -> Path:
    """Return the folder of a real silo's ledger and audit log. Unlike the rest of the state it must be kept."""
    return state_folder(site) / "privacy"


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _backbone(settings: RunSettings, site: Site) -> dict[str, Any]:
    backbone = settings.backbone
    if settings.executor.structure == "sent":  # nothing is loaded; the head comes with the first message
        return {"weights": "random", "head": "zeros" if backbone.network.linear_head else backbone.head}
    if site.weights is not None:
        return {"weights": site.weights}
    if not is_anywhere(backbone.weights):  # not looked for here: the server is not told what there is
        raise ConfigurationError(
            f"backbone.weights={Path(backbone.weights).name}: is a file of the server's; give this silo its own "
            "(weights=FILE), or run with executor.structure=sent"
        )
    return {}

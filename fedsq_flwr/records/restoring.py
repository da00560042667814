"""A run's model from its directory: assembled from its settings, loaded from a checkpoint, checked."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from fedsq_flwr.assembly.model import build_model
from fedsq_flwr.errors import ConfigurationError, DataError, WeightsError
from fedsq_flwr.files import read_as
from fedsq_flwr.gating import DualCopy, QuantitativeCopy
from fedsq_flwr.models.weight_sources import CHECKPOINT
from fedsq_flwr.records.checkpoints import Checkpoints, digest_of_names, pixels_of
from fedsq_flwr.records.config import CONFIG, read_config
from fedsq_flwr.records.history import HISTORY, History, check_kept
from fedsq_flwr.settings.partition_file import PARTITION, PartitionFile
from fedsq_flwr.settings.run import RunSettings


@dataclass(frozen=True)
class Restored:
    """The model of a checkpoint.

    Attributes
    ----------
    model : QuantitativeCopy
        As the method trains it, in evaluation mode.
    settings : RunSettings
        The run's settings.
    class_names : tuple of str
        In the order of the logits.
    round : int
        That the checkpoint is of.
    """

    model: QuantitativeCopy
    settings: RunSettings
    class_names: tuple[str, ...]
    round: int

    def network(self, form: str | None) -> nn.Module:
        """Return the ``dual`` or the ``plain`` form in evaluation mode; by default as the method trains.

        Raises
        ------
        ConfigurationError
            If the dual form is asked for and the method has no fixed gates.
        """
        dual = isinstance(self.model, DualCopy) and self.model.gated
        if form == "dual" and not dual:
            raise ConfigurationError(
                f"--form=dual: {self.settings.method.name} has no fixed gates in round {self.round}; allowed is plain"
            )
        network: nn.Module = self.model if dual and form != "plain" else self.model.to_plain()
        return network.eval()


def restore(checkpoint: Path) -> Restored:
    """Restore the model of a checkpoint.

    A structural copy that came up during the run is stored with the checkpoint; that of the start is made
    again from the backbone's weights. Either must have the fingerprint that the checkpoint names.

    Parameters
    ----------
    checkpoint : Path
        A run's directory, which means its best round, or ``checkpoints/best`` or ``checkpoints/last`` in it; or the
        directory of a model that a silo was given.

    Raises
    ------
    ConfigurationError
        If there is no such checkpoint, the run's settings are not valid here, or it has no model but the
        silos' own.
    DataError
        If a file of the run is missing or damaged.
    WeightsError
        If the weights are damaged, or the gates are not those that the run was made with.
    """
    directory, name = _locate(checkpoint.absolute())
    settings = read_config(directory / CONFIG)
    if settings.method.aggregation == "none":
        raise ConfigurationError(
            f"CHECKPOINT={checkpoint}: of {settings.method.name}, where each silo has a model of its own"
        )
    class_names = read_as(PartitionFile, directory / PARTITION).class_names
    checkpoints = Checkpoints(directory / "checkpoints")
    history = History(directory / HISTORY)
    lines = history.read()  # before the checkpoint: the run may be at work
    state, line = checkpoints.load(name)
    if os.path.lexists(history.path):  # a model can be used without
        check_kept(lines, line, checkpoints.path(name), best=settings.select_by if name == "best" else None)
    model = build_model(settings, len(class_names))
    where = checkpoints.path(name)
    if isinstance(model, DualCopy):
        structure = checkpoints.load_structure(name)
        if structure is not None:
            model.load_structural_state(structure)
        model.gated = bool(line.fingerprint)
    if not model.has_fingerprint(line.fingerprint):
        raise WeightsError(
            f"{where} is of a structure with fingerprint {line.fingerprint[:12]}..., but "
            f"backbone.weights={settings.backbone.weights} gives {model.fingerprint[:12]}... here: "
            "these are not the weights that the run started from"
        )
    try:
        model.load_quantitative_state(state)
    except ValueError as error:
        raise WeightsError(f"{where} does not fit its run's settings: {error}") from error
    _check_inputs(checkpoints, name, settings, class_names)
    return Restored(model.eval(), settings, class_names, line.round)


def _check_inputs(checkpoints: Checkpoints, name: str, settings: RunSettings, class_names: Sequence[str]) -> None:
    """Check that images and classes are told as they were when the checkpoint was written.

    Raises
    ------
    DataError
        If the other files of the run were changed since, in what would make predictions wrong in silence.
    """
    kept, run = checkpoints.metadata(name), checkpoints.directory.parent
    for field, value in pixels_of(settings.backbone).items():
        if getattr(kept, field) not in (None, value):
            raise DataError(f"{run / CONFIG}: images were prepared otherwise when the run was made")
    if kept.classes not in (None, digest_of_names(class_names)):
        raise DataError(f"{run / PARTITION}: the classes had other names when the run was made")


def _locate(path: Path) -> tuple[Path, str]:
    """Return the run's directory and the checkpoint's name."""
    if (path / CONFIG).is_file():
        final = path / "checkpoints" / "last" / CHECKPOINT  # alone at a silo that was given the final model
        return path, "last" if final.is_file() and not (path / "checkpoints" / "best").exists() else "best"
    if (path / CHECKPOINT).is_file() and path.parent.name == "checkpoints":
        return path.parent.parent, path.name
    raise ConfigurationError(
        f"CHECKPOINT={path}: is neither a run's directory nor its checkpoints/best or checkpoints/last"
    )

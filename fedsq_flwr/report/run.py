"""A run as its page shows it, read from its directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedsq_flwr.errors import DataError
from fedsq_flwr.files import check_as, finite, read_as
from fedsq_flwr.records.config import CONFIG, config_text, read_config
from fedsq_flwr.records.history import HISTORY, History, Line, best_line, names_of
from fedsq_flwr.records.summary import (
    LAYOUT,
    SUMMARY,
    Summary,
    figures,
    read_failure,
    read_spent,
    read_summary,
    total,
)
from fedsq_flwr.settings.partition_file import PARTITION, REAL_SILOS, PartitionFile
from fedsq_flwr.settings.run import RunSettings


@dataclass(frozen=True)
class Run:
    """All that the page is made of.

    Attributes
    ----------
    directory : Path
        The run's.
    settings : RunSettings
        The run's settings.
    config : str
        The text of ``config.yaml``.
    rounds : tuple of Line
        The finished rounds; there is at least one.
    summary : Summary
        That of the run, or what its rounds so far tell.
    partition : PartitionFile or None
        Which silo has what; None where that is not known.
    finished : bool
        Whether the run did what was asked.
    failure : str or None
        Why the run ended, if it is not finished and could say so.
    notes : tuple of str
        Sentences on what the files lack.
    """

    directory: Path
    settings: RunSettings
    config: str
    rounds: tuple[Line, ...]
    summary: Summary
    partition: PartitionFile | None
    class_names: tuple[str, ...]
    finished: bool
    failure: str | None
    notes: tuple[str, ...]

    @property
    def best_round(self) -> int | None:
        """The round with the best validation accuracy; None if none was measured."""
        return None if self.summary.score is None else self.summary.rounds_to_best

    @property
    def names(self) -> dict[int, str]:
        """The names of the silos that have one, by their numbers."""
        return names_of(self.rounds)

    @property
    def silos_validate(self) -> bool:
        """Whether the server has no data, so that the silos' held-out samples are the validation set."""
        return self.settings.silos_validate

    @property
    def one_model(self) -> bool:
        """Whether there is one averaged model; else the server's figures are means over the silos' own models."""
        return self.settings.method.aggregation != "none"


def read_run(directory: Path) -> Run:
    """Read what a run left behind.

    A run without a summary, or with that of a shorter run, did not finish: what its rounds tell takes the place.

    Parameters
    ----------
    directory : Path
        The run's directory, with ``config.yaml`` and ``history.jsonl`` at least.

    Raises
    ------
    DataError, ConfigurationError
        If a file is missing or damaged; one line that names the file.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such directory; a run's is wanted here")
    settings = read_config(directory / CONFIG)
    history = History(directory / HISTORY)
    rounds = tuple(history.read())
    if not rounds:
        raise DataError(f"{history.path}: no round is recorded, so there is nothing to report")
    notes = []
    if history.is_cut_short():
        notes.append("The last line of history.jsonl is cut short and was left out.")
    partition, class_names = None, tuple[str, ...]()
    if not (directory / PARTITION).exists():
        notes.append("There is no partition.json, so the partition is not shown.")
    else:
        told = read_as(PartitionFile, directory / PARTITION)
        partition, class_names = told if told.is_known else None, tuple(told.class_names)
        if partition is None:
            notes.append("The silos keep to themselves how many samples of each class they have.")
    summary = read_summary(directory) if (directory / SUMMARY).exists() else None
    finished = (
        summary is not None
        and summary.rounds == settings.rounds
        and rounds[-1].round in (summary.rounds, summary.stopped)
    )
    return Run(
        directory=directory,
        settings=settings,
        config=config_text(directory / CONFIG),
        rounds=rounds,
        summary=summary if summary is not None and finished else _so_far(directory, settings, rounds, partition),
        partition=partition,
        class_names=class_names,
        finished=finished,
        failure=None if finished else read_failure(directory),
        notes=tuple(notes),
    )


def _so_far(
    directory: Path, settings: RunSettings, rounds: Sequence[Line], partition: PartitionFile | None
) -> Summary:
    """Return what the rounds of an unfinished run tell, as a summary; None is what they cannot."""
    best, names = best_line(rounds, settings.select_by), names_of(rounds)
    accuracies = best.accuracies
    if partition is None:
        per_silo: list[dict[str, float | str | None]] = [
            {"silo": silo, "name": names.get(silo), "accuracy": accuracy} for silo, accuracy in accuracies.items()
        ]
    else:
        sizes = zip(partition.sizes, partition.held_out, strict=True)
        per_silo = [
            {"silo": silo, "train": size - held_out, "held_out": held_out, "accuracy": accuracies.get(silo)}
            for silo, (size, held_out) in enumerate(sizes)
        ]
    told = {
        "schema": LAYOUT,
        "method": settings.method.name,
        "backbone": settings.backbone.name,
        "data": settings.data.name,
        "partition": REAL_SILOS if settings.has_real_silos else settings.partition.name,
        "silos": settings.silos,
        "seed": settings.seed,
        "rounds": settings.rounds,
        "learning_rate": settings.learning_rate,
        "batch_norm": settings.batch_norm,
        **figures(rounds, settings.select_by),
        "accuracy_auc": None,  # of another number of rounds than that of finished runs
        "per_silo": per_silo,
        "wall_seconds": total(line.seconds for line in rounds),
        "fingerprint": rounds[-1].fingerprint if "fingerprint" in rounds[-1].model_fields_set else None,
        "versions": {},
        **({"privacy": spent.model_dump()} if (spent := read_spent(directory)) is not None else {}),
    }
    return check_as(Summary, finite(told), str(directory))

"""``fedsq partition``: look at a partition before a run, and keep it for several."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedsq_flwr.assembly.data import load_task
from fedsq_flwr.commands.hydra_main import parse_overrides
from fedsq_flwr.commands.output import check_target, write_output
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.files import plain
from fedsq_flwr.records.results import partition_of
from fedsq_flwr.report import captions
from fedsq_flwr.report.heat_maps import FEW_CLASSES, partition_picture
from fedsq_flwr.settings.composition import compose_settings
from fedsq_flwr.settings.partition_file import PartitionFile

SUFFIXES = (".json", ".png", ".svg")


def partition(overrides: list[str], output: Path | None) -> None:
    """Distribute the data as a run with ``overrides`` would, and print the samples of each class in each silo.

    Parameters
    ----------
    overrides : list of str
        Hydra's, and its options that say where files are, as of ``fedsq run``.
    output : Path, optional
        Where to write: the picture (``.png``, ``.svg``), or what ``partition.file`` takes (``.json``).

    Raises
    ------
    FedSQError
        If the settings are wrong, the data cannot be distributed so, or the file cannot be written.
    """
    check_target(output)
    if output is not None and output.suffix not in SUFFIXES:
        raise ConfigurationError(f"--output={output}: must end in {', '.join(SUFFIXES)}")
    settings = compose_settings(*parse_overrides(overrides))
    drawn = partition_of(load_task(settings, settings.silos))
    console = Console()
    console.print(_table(drawn))
    line = f"{captions.how_drawn(drawn)}: {captions.span(drawn)} a silo"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    if output is not None:
        kind = output.suffix[1:]
        content = json.dumps(plain(drawn)).encode() if kind == "json" else partition_picture(drawn).file(kind)
        write_output(output, content)
        console.print(Text(str(output)), soft_wrap=True, highlight=False)


def _table(partition: PartitionFile) -> Table:
    """Return a row a silo, which only counts its classes where there are many."""
    few = len(partition.class_names) <= FEW_CLASSES
    table = Table(box=None)
    for name in ("silo", *(partition.class_names if few else ("classes",)), "samples"):
        table.add_column(Text(name), justify="right")  # as it is: a class may be called [red]
    for silo, (counts, size) in enumerate(zip(partition.counts, partition.sizes, strict=True)):
        there = [str(count) if count else "" for count in counts]
        table.add_row(str(silo), *(there if few else [str(len(list(filter(None, there))))]), str(size))
    return table

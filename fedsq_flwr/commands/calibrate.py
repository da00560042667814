"""``fedsq calibrate``: choose the settings of training for each method, on data in one place, by validation."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fedsq_flwr.calibration.choice import Try, choose, diverged, doubts, gather
from fedsq_flwr.calibration.file import check_file, write_file
from fedsq_flwr.calibration.grid import plan_grid
from fedsq_flwr.commands.going_on import telling_how_to_go_on
from fedsq_flwr.commands.hydra_main import parse_overrides
from fedsq_flwr.commands.sweep import carry_out, introduce, refuse_failures
from fedsq_flwr.errors import RunFailedError
from fedsq_flwr.report import numerals
from fedsq_flwr.report.measure_tables import NAMES
from fedsq_flwr.settings.run import Selection
from fedsq_flwr.sweeps.outcomes import Event
from fedsq_flwr.sweeps.progress import SweepProgress


def calibrate(methods: Sequence[str], overrides: Sequence[str], file: Path) -> None:
    """Run the tries of a calibration that are missing, and write ``file``.

    Parameters
    ----------
    methods : sequence of str
        Which are calibrated, each on the same grid.
    overrides : sequence of str
        Hydra's, see `plan_grid`; and its options that say where files are.
    file : Path
        Of the chosen values, a ``.yaml``. The runs lie beside it, in a directory of its name without suffix.

    Raises
    ------
    FedSQError
        If a setting is wrong, and nothing was run; or if a run failed other than by diverging. Then no file is
        written, and the same command goes on.
    """
    check_file(file)
    told, sources = parse_overrides(overrides)
    grid = plan_grid(methods, told, file.absolute().with_suffix(""), sources)
    console = Console()
    introduce(grid.plan, console)
    progress = ValidationProgress(grid.plan.total, grid.plan.label, console)
    with telling_how_to_go_on(["calibrate", "--methods", ",".join(methods), "--output", str(file), *overrides]):
        carry_out(grid.plan, progress)
    refuse_failures(progress, except_for=diverged)
    known = len(progress.over)
    if grid.plan.total is not None and known < grid.plan.total:
        raise RunFailedError(
            f"it is known of {known} of {grid.plan.total} tries how they ended; the same command goes on"
        )
    tries = gather(progress.over, grid.settings)
    chosen = choose(tries)
    write_file(file, chosen, tries, grid.plan.fixed, grid.select_by)
    for method, best in chosen.items():
        console.print(_told(method, best, grid.select_by), soft_wrap=True, highlight=False)
        for doubt in doubts(best, tries):
            console.print(Text(f"  {doubt}", style="yellow"), soft_wrap=True, highlight=False)
    console.print(Text(f"use them with  fedsq run calibration={file}"), soft_wrap=True, highlight=False)


class ValidationProgress(SweepProgress):
    """A sweep's progress without test accuracies, which must not influence the choice."""

    def add(self, event: Event) -> None:
        """See `SweepProgress`."""
        super().add(dataclasses.replace(event, test=None))


def _told(method: str, best: Try, select_by: Selection) -> Text:
    figures = best.figures
    values = " ".join(f"{name}={value}" for name, value in best.values.items())
    measure = "validation" if select_by == "accuracy" else f"validation {NAMES[select_by]}"
    return Text(f"{method}: {values}  {measure} {numerals.accuracy(abs(figures[0]) if figures else None)}")

"""The file of a calibration: chosen values for each method, and the table of all tries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from fedsq_flwr.calibration.choice import Try
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.files import write_whole
from fedsq_flwr.settings.calibrated import SCHEMA, read_calibration
from fedsq_flwr.settings.run import Selection

_HEAD = "# By fedsq calibrate; read by fedsq run calibration=FILE. Chosen by figures on validation alone.\n"


def check_file(path: Path) -> None:
    """Check that a calibration can be written to ``path``: in the place of another one, or of nothing.

    Raises
    ------
    ConfigurationError
        If its name is another's, or something else is there.
    """
    if path.suffix != ".yaml":
        raise ConfigurationError(f"--output {path}: must end in .yaml")
    if path.exists():
        try:
            read_calibration(path)
        except ConfigurationError as error:
            raise ConfigurationError(f"--output {path}: is there, and no calibration to be replaced") from error


def write_file(
    path: Path, chosen: Mapping[str, Try], tries: Sequence[Try], fixed: Sequence[str], select_by: Selection
) -> None:
    """Write ``path``, whole or not at all.

    Parameters
    ----------
    path : Path
        As `check_file` found it.
    chosen : mapping of str to Try
        By method.
    tries : sequence of Try
        All of them.
    fixed : sequence of str
        The overrides that all runs had.
    select_by : str
        The measure that chose.
    """
    content = {
        "schema": SCHEMA,
        "methods": {method: dict(best.values) for method, best in chosen.items()},
        "common": list(fixed),
        "seeds": sorted({*tries[0].best, *tries[0].diverged}),
        "tries": [_row(each, each is chosen[each.method], select_by) for each in tries],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (_HEAD + OmegaConf.to_yaml(OmegaConf.create(content))).encode())


def _row(each: Try, chosen: bool, select_by: Selection) -> dict[str, Any]:
    best, mean = each.figures or (None, None)
    best = -best if select_by == "loss" and best is not None else best
    figures: dict[str, Any] = {f"best_{select_by}": best, "accuracy_auc": mean}
    if each.diverged:
        figures["diverged_seeds"] = sorted(each.diverged)
    return {"method": each.method, **each.values, **figures, **({"chosen": True} if chosen else {})}

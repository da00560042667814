"""What the types cannot say: allowed values, checked before any work starts."""

import math
from pathlib import Path

from fedsq_flwr.config.allowed import CHOICES, LOWER_BOUNDS, PUBLISHED, UPPER_BOUNDS, interval
from fedsq_flwr.config.relations import check_relations
from fedsq_flwr.config.requirements import require, setting
from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError


def validate(config: Config) -> None:
    """Check every value of ``config``.

    Raises
    ------
    ConfigurationError
        One line that names the first bad setting, its value and what is allowed.
    """
    for name, allowed in CHOICES.items():
        require(config, name, setting(config, name) in allowed, f"allowed are {', '.join(allowed)}")
    for name in dict.fromkeys([*LOWER_BOUNDS, *UPPER_BOUNDS]):
        value = float(setting(config, name))  # type: ignore[arg-type]
        low, low_allowed = LOWER_BOUNDS.get(name, (-math.inf, True))
        high, high_allowed = UPPER_BOUNDS.get(name, (math.inf, True))
        inside = (value >= low if low_allowed else value > low) and (value <= high if high_allowed else value < high)
        require(config, name, inside and math.isfinite(value), interval(name))
    check_relations(config)


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
        require(config, "data.path", there, "there is no such folder")
        check_output(config.output, config.data.name, config.data.path)
    if config.partition.file is not None:
        saved = Path(config.partition.file).expanduser()
        require(config, "partition.file", saved.exists(), "there is no such file")
        is_runs = not saved.is_dir() or (saved / "partition.json").is_file()
        require(config, "partition.file", is_runs, "has no partition.json; name one run's directory, or its file")


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

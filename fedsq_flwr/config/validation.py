"""What the types cannot say: allowed values, checked before any work starts."""

import math
from pathlib import Path

from fedsq_flwr.config.allowed import CHOICES, LOWER_BOUNDS, PUBLISHED, UPPER_BOUNDS, interval
from fedsq_flwr.config.relations import check_relations
from fedsq_flwr.config.requirements import require, setting
from fedsq_flwr.config.schema import Config


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
    """Check that the folder of images and the saved partition are there.

    A run needs them; whoever uses a run's model does not.

    Raises
    ------
    ConfigurationError
        One line, if one is not there and data are to be shared out among silos.
    """
    if config.executor.name == "silos":
        return
    if config.data.path is not None:
        place = Path(config.data.path).expanduser()
        there = place.is_dir() or (config.data.name in PUBLISHED and place.is_file())  # a file: an archive
        require(config, "data.path", there, "there is no such folder")
    file = config.partition.file
    file_is_there = file is None or Path(file).expanduser().exists()
    require(config, "partition.file", file_is_there, "there is no such file")

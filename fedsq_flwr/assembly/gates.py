"""The gate cache of a process, and the kernels that it was told to use."""

from functools import lru_cache
from pathlib import Path

from fedsq_flwr.config.schema import Config
from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.gating import GateCache
from fedsq_flwr.gating.packed import native


def gate_cache(config: Config) -> GateCache:
    """Return the cache that server and silos of this process share."""
    directory = config.executor.gate_cache_dir
    return _gate_cache(config.executor.gate_cache_bytes, None if directory is None else Path(directory).expanduser())


def load_kernels(config: Config) -> None:
    """Load the kernels that ``executor.kernels`` names, compiled first where they are not there yet.

    Raises
    ------
    ConfigurationError
        If they cannot be compiled here.
    """
    if config.executor.kernels == "native":
        try:
            native.load(Path(config.cache_dir).expanduser())
        except native.NativeKernelsError as error:
            raise ConfigurationError(f"executor.kernels=native: {error}") from error


# One object a process, whatever asks: the budget is the process's, and a sweep goes on with what it has.
@lru_cache(maxsize=1)
def _gate_cache(max_bytes: int, directory: Path | None) -> GateCache:
    return GateCache(max_bytes, directory)

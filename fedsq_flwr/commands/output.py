"""Files that a command writes: checked before the work, written atomically."""

from pathlib import Path

from fedsq_flwr.errors import ConfigurationError
from fedsq_flwr.files import write_whole


def check_target(output: Path | None) -> None:
    """Raise an error for an ``output`` that cannot be a file.

    Raises
    ------
    ConfigurationError
        If it is a directory, or lies in none.
    """
    if output is None:
        return
    if output.is_dir():
        raise ConfigurationError(f"--output={output}: is a directory; give a file")
    if not output.absolute().parent.is_dir():
        raise ConfigurationError(f"--output={output}: there is no directory {output.absolute().parent}")


def write_output(output: Path, content: bytes) -> None:
    """Write ``content`` to ``output`` in one step, replacing what is there.

    Raises
    ------
    ConfigurationError
        If it cannot be written.
    """
    try:
        write_whole(output, content)
    except OSError as error:
        raise ConfigurationError(f"--output={output}: cannot be written: {error.strerror}") from error

"""Checkpoints: the global model of the last and of the best round, each one file written atomically."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, Json
from torch import Tensor

from fedsq_flwr.errors import DataError, WeightsError
from fedsq_flwr.files import FileModel, check_as
from fedsq_flwr.models.weight_sources import CHECKPOINT
from fedsq_flwr.models.weights import read_metadata, read_weights, save_weights
from fedsq_flwr.records.history import Line, line_text

FileName = Annotated[str, Field(pattern=r"^[\w-]+\.safetensors$")]


class Metadata(FileModel):
    """What the metadata of a checkpoint say beside what any file of weights states.

    Attributes
    ----------
    line : Line
        The round's line of the history.
    structure, server : str, optional
        Files beside it, see `Checkpoints`.
    """

    line: Json[Line]
    structure: FileName | None = None
    server: FileName | None = None


class Checkpoints:
    """The directory ``checkpoints`` of a run.

    Parameters
    ----------
    directory : Path
        Where it is, or will be. Holds ``last`` and ``best``, each with a file of the quantitative state, whose
        metadata have the round's line of the history. Where the structure came up during the run, there is a file of
        the structural state beside it, named by its fingerprint; where the server remembers more than the model (an
        optimiser's moments, the silos' own models), one of that, named by its round.
    pixels : mapping of str to str
        What else the metadata say, so that other runs can start from the file: ``mean``, ``std`` and ``input_size``
        as `models.weights.stated` reads them.
    """

    def __init__(self, directory: Path, pixels: Mapping[str, str] = MappingProxyType({})) -> None:
        self.directory = directory
        self.pixels = pixels

    def path(self, name: str) -> Path:
        """Return the file of the checkpoint ``name``."""
        return self.directory / name / CHECKPOINT

    def save(
        self,
        name: str,
        state: Mapping[str, Tensor],
        line: Line,
        structure: Mapping[str, Tensor] | None = None,
        server: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Write the checkpoint ``name`` (``last`` or ``best``), replacing the one before it.

        What stands beside the state is written before the state that names it, and what older states named is removed
        afterwards, so that a run that dies in between leaves a whole checkpoint.

        Raises
        ------
        OSError
            If it cannot be written; the one before it is whole.
        """
        directory = self.directory / name
        metadata = {**self.pixels, "line": line_text(line)}
        if structure is not None:
            file = directory / f"structural-{line.fingerprint[:16]}.safetensors"
            metadata["structure"] = file.name
            if not file.exists():
                save_weights(file, structure, {"fingerprint": line.fingerprint})
        if server is not None:
            file = directory / f"server-{line.round}.safetensors"
            metadata["server"] = file.name
            save_weights(file, server, {})
        save_weights(self.path(name), state, metadata)
        for older in (*directory.glob("structural-*.safetensors"), *directory.glob("server-*.safetensors")):
            if older.name not in (metadata.get("structure"), metadata.get("server")):
                older.unlink()

    def load(self, name: str) -> tuple[dict[str, Tensor], Line]:
        """Return the state and the history line of the checkpoint ``name``.

        Raises
        ------
        WeightsError
            If it does not exist, is damaged, or is no checkpoint.
        """
        state, metadata = read_weights(self.path(name))
        return state, self._parse(name, metadata).line

    def load_structure(self, name: str) -> dict[str, Tensor] | None:
        """Return the structural state of the checkpoint ``name``, or None if it is the start's, or there is none.

        Raises
        ------
        WeightsError
            If a file is missing or damaged.
        """
        return self._load_beside(name, self._parse(name, read_metadata(self.path(name))).structure)

    def load_server(self, name: str) -> dict[str, Tensor] | None:
        """Return what the server remembered beside the model of the checkpoint ``name``, or None if nothing.

        Raises
        ------
        WeightsError
            As `load_structure`.
        """
        return self._load_beside(name, self._parse(name, read_metadata(self.path(name))).server)

    def _load_beside(self, name: str, file: str | None) -> dict[str, Tensor] | None:
        return None if file is None else read_weights(self.directory / name / file)[0]

    def _parse(self, name: str, metadata: Mapping[str, str]) -> Metadata:
        path = self.path(name)
        if "line" not in metadata:
            raise WeightsError(f"{path} is no checkpoint: it does not say which round it is of")
        try:
            return check_as(Metadata, dict(metadata), f"{path}, metadata")
        except DataError as error:
            raise WeightsError(str(error)) from error

"""Checkpoints: the global model of the last and of the best round, each one file written atomically."""

import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, Json
from torch import Tensor

from fedsq_flwr.assembly.normalisation import normalisation
from fedsq_flwr.errors import DataError, WeightsError
from fedsq_flwr.files import FileModel, check_as
from fedsq_flwr.models.weight_sources import CHECKPOINT
from fedsq_flwr.models.weights import read_metadata, read_weights, save_weights
from fedsq_flwr.records.history import Line, line_text
from fedsq_flwr.settings.backbone import BackboneSettings

FileName = Annotated[str, Field(pattern=r"^[\w-]+\.safetensors$")]

#: The digest of the tensors, which any file of weights of ours states, and that of all other metadata.
_DIGEST, _OF_METADATA = "digest", "metadata_digest"
#: What the metadata of version 0.1 hold, which have no digest.
_OF_0_1 = {"line", "structure", "server", "mean", "std", "deviation", "input_size", _DIGEST}


class Metadata(FileModel):
    """What the metadata of a checkpoint say beside what any file of weights states.

    Attributes
    ----------
    line : Line
        The round's line of the history.
    structure, server : str, optional
        Files beside it, see `Checkpoints`.
    structure_digest, server_digest : str, optional
        Digests of their tensors; checkpoints of version 0.1 have none.
    history : str, optional
        Digest of the history before the line.
    mean, std, input_size, classes : str, optional
        How images enter the network, and the digest of the classes' names, see `pixels_of` and `digest_of_names`.
    """

    line: Json[Line]
    structure: FileName | None = None
    structure_digest: str | None = None
    server: FileName | None = None
    server_digest: str | None = None
    history: str | None = None
    mean: str | None = None
    std: str | None = None
    input_size: str | None = None
    classes: str | None = None


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
        *,
        history: str | None = None,
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
        metadata = {**self.pixels, "line": line_text(line), **({} if history is None else {"history": history})}
        if structure is not None:
            file = directory / f"structural-{line.fingerprint[:16]}.safetensors"
            metadata["structure"] = file.name
            if not file.exists():
                save_weights(file, structure, {"fingerprint": line.fingerprint})
            metadata["structure_digest"] = read_metadata(file)[_DIGEST]
        if server is not None:
            file = directory / f"server-{line.round}.safetensors"
            metadata["server"] = file.name
            save_weights(file, server, {})
            metadata["server_digest"] = read_metadata(file)[_DIGEST]
        save_weights(self.path(name), state, {**metadata, _OF_METADATA: _digest_of(metadata)})
        self._tidy(directory, {metadata.get("structure"), metadata.get("server")})

    def tidy(self) -> None:
        """Remove what a run that died has left beside its checkpoints.

        Raises
        ------
        WeightsError
            If a checkpoint is damaged.
        OSError
            If the disk is read-only.
        """
        for directory in self.directory.glob("*/"):
            if self.path(directory.name).exists():
                metadata = self.metadata(directory.name)
                self._tidy(directory, {metadata.structure, metadata.server})
            for half in directory.glob(".*.safetensors.*"):
                half.unlink()

    @staticmethod
    def _tidy(directory: Path, kept: Set[str | None]) -> None:
        for older in (*directory.glob("structural-*.safetensors"), *directory.glob("server-*.safetensors")):
            if older.name not in kept:
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

    def metadata(self, name: str) -> Metadata:
        """Return what the metadata of the checkpoint ``name`` say.

        Raises
        ------
        WeightsError
            As `load`; the tensors are not looked at.
        """
        return self._parse(name, read_metadata(self.path(name)))

    def load_structure(self, name: str) -> dict[str, Tensor] | None:
        """Return the structural state of the checkpoint ``name``, or None if it is the start's, or there is none.

        Raises
        ------
        WeightsError
            If a file is missing, damaged, or another checkpoint's.
        """
        metadata = self.metadata(name)
        return self._load_beside(name, metadata.structure, metadata.structure_digest)

    def load_server(self, name: str) -> dict[str, Tensor] | None:
        """Return what the server remembered beside the model of the checkpoint ``name``, or None if nothing.

        Raises
        ------
        WeightsError
            As `load_structure`.
        """
        metadata = self.metadata(name)
        return self._load_beside(name, metadata.server, metadata.server_digest)

    def _load_beside(self, name: str, file: str | None, digest: str | None) -> dict[str, Tensor] | None:
        if file is None:
            return None
        path = self.directory / name / file
        state, metadata = read_weights(path)
        if digest not in (None, metadata.get(_DIGEST)):
            raise WeightsError(f"weights file {path} is not the one that was written with {self.path(name)}")
        return state

    def _parse(self, name: str, metadata: Mapping[str, str]) -> Metadata:
        path = self.path(name)
        if "line" not in metadata:
            raise WeightsError(f"{path} is no checkpoint: it does not say which round it is of")
        told = {key: value for key, value in metadata.items() if key not in (_DIGEST, _OF_METADATA)}
        whole = metadata.get(_OF_METADATA) == _digest_of(told) and _DIGEST in metadata
        if not whole and (_OF_METADATA in metadata or not metadata.keys() <= _OF_0_1):
            raise WeightsError(f"weights file {path} is damaged: its metadata do not match their digest")
        try:
            return check_as(Metadata, told, f"{path}, metadata")
        except DataError as error:
            raise WeightsError(str(error)) from error


def pixels_of(backbone: BackboneSettings) -> dict[str, str]:
    """Return what the metadata of a checkpoint say of images, as `models.weights.stated` reads it.

    Raises
    ------
    WeightsError
        If it cannot be told how the weights want their images.
    """
    mean, std = normalisation(backbone)
    return {"mean": json.dumps(mean), "std": json.dumps(std), "input_size": str(backbone.image_size)}


def digest_of_names(names: Sequence[str]) -> str:
    """Return a digest of the names of classes, in their order."""
    return hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()


def _digest_of(metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()

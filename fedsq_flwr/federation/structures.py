"""Where a silo keeps the structures that the server sent: in Flower's context, or on the silo's own disk.

A context ends with the run. A structure on disk is there for later runs too, so that it is sent only once.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from flwr.app import Context
from torch import Tensor

from fedsq_flwr.errors import WeightsError
from fedsq_flwr.federation.arrays import to_shared_arrays, to_state
from fedsq_flwr.federation.contents import array_records
from fedsq_flwr.files import oldest_beyond
from fedsq_flwr.models.weights import read_weights, save_weights

log = logging.getLogger(__name__)

_PREFIX = "structure-"
#: Structures that a disk keeps, the newest: enough for a pretrained one and those of a refreshing run.
KEPT_ON_DISK = 4


class Structures(Protocol):
    """Structural states by their fingerprint. Whoever loads a state checks that it has this fingerprint."""

    def load(self, fingerprint: str) -> dict[str, Tensor] | None:
        """Return the state called ``fingerprint``, or None."""
        ...

    def keep(self, fingerprint: str, state: Mapping[str, Tensor]) -> None:
        """Keep ``state``; older ones may make room.

        Raises
        ------
        WeightsError
            If it cannot be stored; says why.
        """
        ...

    def discard(self, fingerprint: str) -> None:
        """Forget the state called ``fingerprint``: it is not what it is called."""
        ...


class ContextStructures:
    """The newest structure, in the context of a silo in one run.

    Silos that share a process share its memory: what is kept are the tensors that the server sent, not copies.
    """

    def __init__(self, context: Context) -> None:
        self._records = context.state

    def load(self, fingerprint: str) -> dict[str, Tensor] | None:
        """Return the state called ``fingerprint``, or None."""
        kept = array_records(self._records).get(_PREFIX + fingerprint)
        return None if kept is None else to_state(kept)

    def keep(self, fingerprint: str, state: Mapping[str, Tensor]) -> None:
        """Keep ``state``, which nobody may write to any more, in place of any other."""
        for name in [name for name in self._records if name.startswith(_PREFIX)]:
            del self._records[name]
        self._records[_PREFIX + fingerprint] = to_shared_arrays(state)

    def discard(self, fingerprint: str) -> None:
        """Forget the state called ``fingerprint``."""
        self._records.pop(_PREFIX + fingerprint, None)


class DiskStructures:
    """The `KEPT_ON_DISK` newest structures, each a safetensors file in ``directory``; safe to delete."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, fingerprint: str) -> dict[str, Tensor] | None:
        """Return the state called ``fingerprint``, or None if there is none or its file is damaged."""
        path = self._path(fingerprint)
        if not path.is_file():
            return None
        try:
            return read_weights(path)[0]
        except WeightsError as error:
            log.warning("%s; the server is asked for it again", error)
            self.discard(fingerprint)
            return None

    def keep(self, fingerprint: str, state: Mapping[str, Tensor]) -> None:
        """Keep ``state``; the oldest make room."""
        new = self._path(fingerprint)
        try:
            save_weights(new, state, {"fingerprint": fingerprint})
            # Whatever the clock says, the new one stays.
            others = [path for path in self._directory.glob("*.safetensors") if path != new]
            for path in oldest_beyond(others, KEPT_ON_DISK - 1):
                path.unlink(missing_ok=True)
        except OSError as error:
            log.error("the structure %s... cannot be kept in %s: %s", fingerprint[:12], self._directory, error)
            reason = error.strerror or type(error).__name__  # without the path, which is the silo's own business
            raise WeightsError(f"cannot store the structure in state_dir: {reason}") from error

    def discard(self, fingerprint: str) -> None:
        """Forget the state called ``fingerprint``."""
        self._path(fingerprint).unlink(missing_ok=True)

    def _path(self, fingerprint: str) -> Path:
        if not fingerprint.isalnum():  # it comes from the server, and must not lead out of the directory
            raise ValueError(f"fingerprint {fingerprint[:20]!r}: must be hexadecimal digits")
        return self._directory / f"{fingerprint}.safetensors"

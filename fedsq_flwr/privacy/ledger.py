"""The ledger of a silo: what its noise was spent on in all runs, and how long its audit log is.

A run whose server adds noise has a ledger of its own, of that run. The ledger is one JSON file, replaced as a whole
and forced onto the disk. Nothing in it is ever taken back: a round that failed, was repeated or was resumed has been
spent. Whoever deletes the file forgets what was spent.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock
from pydantic import Field

from fedsq_flwr.errors import PrivacyError
from fedsq_flwr.files import Count, FileModel, Several, plain, read_as, writing
from fedsq_flwr.privacy.accounting import Mechanism, epsilon_of

Unit = Literal["record", "silo"]
NAME = "ledger.json"
AUDIT_NAME = "audit.jsonl"
#: What stands for the line before the first one.
NO_HASH = "0" * 64
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Positive = Annotated[float, Field(gt=0)]


class Charge(FileModel):
    """A mechanism, and how often it ran."""

    multiplier: _Positive
    sampling: Annotated[float, Field(gt=0, le=1)]
    population: Annotated[int, Field(ge=1, lt=2**53)] | None = None
    count: Count


class NoisedNumber(FileModel):
    """A number of samples as it is, and as it is told."""

    what: str
    exact: Count
    told: Count


class AuditHead(FileModel):
    """Lines, bytes and last hash of the audit log."""

    lines: Count = 0
    bytes: Count = 0
    last: _Hash = NO_HASH


class Epsilon(FileModel):
    """What all charges come to, by the settings of the last one."""

    unit: Unit
    epsilon: Annotated[float, Field(ge=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]


class LedgerContent(FileModel):
    """What the file holds. A file that lacks a field is no ledger, but for ``pending``, which is a later one."""

    version: Literal[1]
    unit: Unit | None
    charges: Several[Charge]
    noised: Several[NoisedNumber]
    spent: Epsilon | None
    audit: AuditHead
    pending: AuditHead | None = None

    @property
    def heads(self) -> tuple[AuditHead, ...]:
        """What the audit log may be: as noted or, after a crash, with the line that was about to be written."""
        return (self.audit,) if self.pending is None else (self.audit, self.pending)


class Ledger:
    """The ledger in a folder.

    Parameters
    ----------
    folder : Path, optional
        Made if it is not there. Several processes may use it. Without one the ledger ends with the process: for
        simulations.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._content = LedgerContent(version=1, unit=None, charges=(), noised=(), spent=None, audit=AuditHead())

    def read(self) -> LedgerContent:
        """Return what the ledger holds.

        Raises
        ------
        DataError
            If the file is damaged.
        PrivacyError
            If it is gone, and the audit log beside it is not.
        """
        if self.folder is None:
            return self._content
        path = self.folder / NAME
        if path.exists():
            return read_as(LedgerContent, path)
        if (self.folder / AUDIT_NAME).exists():
            raise PrivacyError(f"{path}: is gone, and {AUDIT_NAME} beside it is not: put the ledger back")
        return self._content

    def require_unused(self) -> None:
        """Check that nothing was counted: a silo without privacy settings would send what is not.

        Raises
        ------
        PrivacyError
            If something was.
        """
        if self.folder is not None and (self.folder / NAME).exists() and self.read().charges:
            raise PrivacyError(
                "privacy: must be set, because the ledger of this silo has counted what it spent; a silo without "
                "privacy needs a state_dir of its own"
            )

    def charge(
        self,
        unit: Unit,
        mechanism: Mechanism,
        count: int,
        *,
        delta: float,
        limit: float,
        setting: str = "privacy.max_epsilon",
    ) -> Epsilon:
        """Note that ``mechanism`` is about to run ``count`` times; return what all charges come to.

        Parameters
        ----------
        unit : {"record", "silo"}
            What the mechanism protects.
        mechanism : Mechanism
            What runs.
        count : int
            How often, at least 1.
        delta : float
            Where epsilon is taken.
        limit : float
            The largest epsilon.
        setting : str
            What the limit is called.

        Raises
        ------
        PrivacyError
            If epsilon would be above the limit, or the ledger counts another unit; then nothing is noted.
        """
        with self._changing():
            before = self.read()
            counts, epsilon = _after(before, unit, mechanism, count, delta)
            if not epsilon <= limit:
                raise PrivacyError(f"{setting}={limit:g}: would be exceeded by what is asked")
            charges = [Charge(**asdict(each), count=number) for each, number in counts.items()]
            spent = Epsilon(unit=unit, epsilon=epsilon, delta=delta)
            self._write(before.model_copy(update={"unit": unit, "charges": tuple(charges), "spent": spent}))
        return spent

    def would_be(self, unit: Unit, mechanism: Mechanism, count: int, delta: float) -> float:
        """Return epsilon as `charge` would have it, also above a limit; nothing is noted."""
        return _after(self.read(), unit, mechanism, count, delta)[1]

    def noised(self, what: str, exact: int, draw: Callable[[], int]) -> int:
        """Return what is told of a number: the number that ``draw`` returns, drawn once and kept.

        The first number stays, whatever ``exact`` becomes: another draw would tell that it has changed.
        """
        with self._changing():
            before = self.read()
            for each in before.noised:
                if each.what == what:
                    return each.told
        told = draw()  # it may charge this ledger
        with self._changing():
            before = self.read()
            kept = NoisedNumber(what=what, exact=exact, told=told)
            self._write(before.model_copy(update={"noised": (*before.noised, kept)}))
        return told

    @contextmanager
    def extending_audit(self) -> Iterator[Callable[[AuditHead, AuditHead | None], None]]:
        """Hold the ledger while its audit log grows; the function that is lent notes head and pending head."""
        with self._changing():

            def note(head: AuditHead, pending: AuditHead | None) -> None:
                self._write(self.read().model_copy(update={"audit": head, "pending": pending}))

            yield note

    @contextmanager
    def _changing(self) -> Iterator[None]:
        if self.folder is None:
            yield
            return
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self.folder / "ledger.lock"):
            yield

    def _write(self, content: LedgerContent) -> None:
        if self.folder is None:
            self._content = content
            return
        text = json.dumps(plain(content), indent=1, allow_nan=False) + "\n"
        write_durably(self.folder / NAME, text.encode())


def _after(
    before: LedgerContent, unit: Unit, mechanism: Mechanism, count: int, delta: float
) -> tuple[dict[Mechanism, int], float]:
    """Return how often each mechanism has run, and epsilon, once ``mechanism`` has run ``count`` times more."""
    if before.unit not in (None, unit):
        raise PrivacyError(f"privacy.unit={unit}: the ledger of this silo counts unit={before.unit}")
    counts = {Mechanism(each.multiplier, each.sampling, each.population): each.count for each in before.charges}
    counts[mechanism] = counts.get(mechanism, 0) + count
    return counts, epsilon_of(counts, delta)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file, whole or not at all, and return when it is on the disk.

    Raises
    ------
    RunFailedError
        If it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force the names of the files in a folder onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

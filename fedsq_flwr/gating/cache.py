"""The gate cache: gates depend on the sample and the frozen structure only, so they are computed once.

What is kept is what `DualCopy.gates` packs, a row a sample, and a hit equals a recomputation to the bit:
gates are recorded in batches of eight and more, where the kernels of a network give a sample the same
gates whatever the batch (METHOD: single samples may differ in a few bits of millions).
"""

import hashlib
import logging
import threading
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.images import Images
from fedsq_flwr.gating.packed.files import file_of, room_on_disk
from fedsq_flwr.gating.packed.gates import Gates, Layout
from fedsq_flwr.gating.packed.layout import is_channels_last
from fedsq_flwr.gating.packed.rows import DiskRows, MemoryRows, Rows
from fedsq_flwr.gating.replay import GateMismatchError
from fedsq_flwr.models.quantitative import QuantitativeCopy

log = logging.getLogger(__name__)

#: Fewest samples whose gates are recorded together.
SMALLEST_BATCH = 8


@dataclass
class _Table:
    """The rows of one key, and what their bytes are."""

    fingerprint: str
    layout: Layout
    rows: Rows


class GateCache:
    """Packed gates by structural fingerprint, data set and input pipeline, sample, and view of the sample.

    One object serves all silos of a process. A structure that is refreshed has another fingerprint, so
    its gates are computed anew and the old ones make room when it is needed.

    Parameters
    ----------
    max_bytes : int
        Budget for all rows together. Samples that find no room are computed each time; 0 keeps nothing.
    directory : Path or str, optional
        Keep the rows in memory-mapped files here, within the budget, so that other processes and later
        ones have them; the system keeps in memory what fits. Safe to delete at any time. By default they
        are kept in memory.

    Attributes
    ----------
    hits, misses : int
        Samples that were found and that were computed.

    Examples
    --------
    >>> import torch, torchvision
    >>> dual, images = DualCopy(torchvision.models.resnet18()), torch.randn(64, 3, 32, 32)
    >>> gates = GateCache().bind(dual, data=digest(images), samples=len(images))
    >>> batch = torch.arange(16)
    >>> dual(images[batch], gates.of(batch, images[batch])).shape
    torch.Size([16, 1000])
    """

    def __init__(self, max_bytes: int = 2**30, directory: Path | str | None = None) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes={max_bytes}: must be at least 0")
        self.max_bytes = max_bytes
        self.directory = None if directory is None else Path(directory)
        self.hits = 0
        self.misses = 0
        self._tables: dict[str, _Table] = {}  # the one used last is last
        self._lock = threading.RLock()

    def bind(self, dual: DualCopy, *, data: str, samples: int, view: str = "", views: int = 1) -> "BoundGates":
        """Return the gates of one data set under the structure of ``dual`` as it is now.

        Parameters
        ----------
        dual : DualCopy
            Computes what is missing.
        data : str
            Names the images as they enter the network: data set *and* input pipeline, best by `digest`.
        samples : int
            Number of samples; they are numbered from 0.
        view : str
            Names a deterministic variant of each sample, ``"flipped"`` say; each is kept for itself. Or
            names a way to number several of them, ``"flip"`` say.
        views : int
            How many variants are numbered, from 0; a row is kept for each sample in each of them.
        """
        return BoundGates(self, dual, data=data, samples=samples, view=view, views=views)

    @property
    def nbytes(self) -> int:
        """Bytes that are set aside for rows."""
        with self._lock:
            return sum(table.rows.nbytes for table in self._tables.values())

    def fetch(self, bound: "BoundGates", samples: Tensor, images: Tensor) -> Gates:
        """Return the gates of a batch: see `BoundGates.of`. Here a view of a sample counts as a sample."""
        key = bound.key(images)
        with self._lock:
            table = self._tables.pop(key, None)
            if table is not None:
                self._tables[key] = table  # at the end: used last
        if table is None:
            return self._begin(key, bound, samples, _record(bound.dual, images))
        with self._lock:
            known = table.rows.known(samples)
            found = table.rows.take(samples[known])
            self.hits += len(found)
        if len(found) == len(samples):
            return Gates(table.layout, found)
        computed = _record(bound.dual, images[(~known).to(images.device)])
        if computed.layout != table.layout:
            raise GateMismatchError(
                "the network takes another branch for other batches, so that its gates cannot be kept sample by "
                "sample: do without the gate cache"
            )
        self._keep(table, samples[~known], computed)
        rows = torch.empty((len(samples), found.shape[1]), dtype=torch.uint8)
        rows[known], rows[~known] = found, computed.rows
        return Gates(table.layout, rows)

    def _begin(self, key: str, bound: "BoundGates", samples: Tensor, computed: Gates) -> Gates:
        """Begin a table with its first batch, or go on with a file, if what is in it is what is computed now."""
        with self._lock:
            table = self._tables.get(key) or self._open(key, bound, computed)
            self._tables[key] = table
            known = table.rows.known(samples)
            if not torch.equal(table.rows.take(samples[known]), computed.rows[known]):
                log.warning("gate cache: %s hold other gates than are computed here; they are made again", key[:24])
                table.rows.forget()
        self._keep(table, samples, computed)
        return computed

    def _keep(self, table: _Table, samples: Tensor, computed: Gates) -> None:
        fits = samples < table.rows.capacity
        with self._lock:
            table.rows.put(samples[fits], computed.rows[fits])
            self.misses += len(samples)

    def _open(self, key: str, bound: "BoundGates", computed: Gates) -> _Table:
        row_bytes = computed.rows.shape[1]
        path = file_of(self.directory, bound.fingerprint, key) if self.directory else None
        wanted = bound.rows * (row_bytes if path is None else DiskRows.stride(row_bytes))
        if path is None:
            room = self._room_in_memory(bound.fingerprint, wanted)
        else:
            self._let_go(bound.fingerprint)
            room = room_on_disk(path, wanted, self.max_bytes)
        capacity = bound.rows if wanted <= room else room * bound.rows // wanted
        if path is None or capacity == 0:
            return _Table(bound.fingerprint, computed.layout, MemoryRows(capacity, row_bytes))
        return _Table(bound.fingerprint, computed.layout, DiskRows(path, capacity, row_bytes))

    def _let_go(self, fingerprint: str) -> None:
        """Close the files of other structures: while one is open, its bytes stay on the disk, removed or not.

        What is needed again is opened again. A process that goes on for long runs out of files otherwise.
        """
        self._tables = {key: table for key, table in self._tables.items() if table.fingerprint == fingerprint}

    def _room_in_memory(self, fingerprint: str, wanted: int) -> int:
        """Return the bytes to be had; tables of other structures make way, the longest unused first."""
        for key in [key for key, table in self._tables.items() if table.fingerprint != fingerprint]:
            if self.nbytes + wanted > self.max_bytes:
                del self._tables[key]
        return max(0, self.max_bytes - self.nbytes)


class BoundGates:
    """The gates of one data set under one structure, as `GateCache.bind` returns them."""

    def __init__(self, cache: GateCache, dual: DualCopy, *, data: str, samples: int, view: str, views: int) -> None:
        self.dual = dual
        self.fingerprint = dual.fingerprint
        self.view = view
        self.rows = samples * views  # a row of the cache is `view * samples + sample`
        self._samples = samples
        self._cache = cache
        self._name = (self.fingerprint, data, view, samples, torch.__version__)

    def of(self, samples: Tensor, images: Tensor, views: Tensor | None = None) -> Gates:
        """Return the gates of a batch, from the cache or computed and kept.

        Parameters
        ----------
        samples : Tensor
            int64, the numbers of the samples, on the CPU.
        images : Tensor
            The images of these samples, in the same order, as they enter the network.
        views : Tensor, optional
            int64, on the CPU: the view in which each of these samples is; 0 by default.

        Raises
        ------
        GateMismatchError
            If the network takes another branch for another batch, so that samples have no gates of their own.
        """
        return self._cache.fetch(self, samples if views is None else views * self._samples + samples, images)

    def key(self, images: Tensor) -> str:
        """Return what the gates of ``images`` are kept under: all that their bits depend on."""
        device = images.device.type
        precision = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else str(images.dtype)
        form = (precision, tuple(images.shape[1:]), is_channels_last(images), device)
        return hashlib.sha256(repr((*self._name, *form)).encode()).hexdigest()


def bind(
    cache: GateCache | None, model: QuantitativeCopy, images: Images, *, view: str = "", views: int | None = 1
) -> BoundGates | None:
    """Return the kept gates of ``images`` under ``model`` as it is now; None where there is nothing to keep.

    That is without a cache, with one that may hold nothing, for a model with ReLUs of its own, and for images
    with more ``views`` than can be kept (None); ``view`` and ``views`` are those of `GateCache.bind`.
    """
    if cache is None or cache.max_bytes == 0 or not isinstance(model, DualCopy) or not model.gated or views is None:
        return None
    return cache.bind(model, data=digest(images), samples=len(images), view=view, views=views)


def digest(images: Images) -> str:
    """Return a name for ``images``: another data set or pipeline has another.

    A tensor's is made from its bytes; `LazyImages` name themselves.
    """
    if not isinstance(images, Tensor):
        return images.digest
    values = images.detach().cpu().contiguous()
    head = f"{values.dtype}|{tuple(values.shape)}|".encode()
    return hashlib.sha256(head + values.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def _record(dual: DualCopy, images: Tensor) -> Gates:
    """Compute the gates of ``images`` in a batch of at least `SMALLEST_BATCH`, filled up by repetition."""
    count = len(images)
    if count < SMALLEST_BATCH:
        images = images[torch.arange(SMALLEST_BATCH, device=images.device) % count]
    return dual.gates(images)[:count].to(torch.device("cpu"))

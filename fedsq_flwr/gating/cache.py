"""The gate cache: gates depend on the sample and the frozen structure only, so they are computed once.

The cache holds the packed gates of `DualCopy.gates`, one row for each sample. A hit equals a recomputation to the
bit, because gates are recorded in batches of eight images or more: in such batches the kernels of a network give a
sample the same gates whatever the other samples. Alone, a sample may differ in a few of millions of bits
(docs/explanation/gates.md).
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
from fedsq_flwr.gating.packed.gates import Gates, Layout
from fedsq_flwr.gating.packed.layout import is_channels_last
from fedsq_flwr.gating.packed.rows import DiskRows, MemoryRows, Rows, file_of, room_on_disk
from fedsq_flwr.gating.replay import GateMismatchError
from fedsq_flwr.models.quantitative import QuantitativeCopy

log = logging.getLogger(__name__)

#: The smallest batch in which gates are recorded.
SMALLEST_BATCH = 8


@dataclass
class _Table:
    """The rows of one key, and their layout."""

    fingerprint: str
    layout: Layout
    rows: Rows


class GateCache:
    """Packed gates by structural fingerprint, data set and input pipeline, sample, and view of the sample.

    One cache serves all silos of a process. A refreshed structure has another fingerprint: its gates are
    computed, and the gates of the old structure are deleted when the new ones need the room.

    Parameters
    ----------
    max_bytes : int
        Budget for all rows together. The gates of samples for which there is no room are computed each time;
        with 0 nothing is cached.
    directory : Path or str, optional
        Directory for memory-mapped files that hold the rows, within the budget, so that other processes and
        later ones find them; the operating system keeps in memory what fits. It is safe to delete at any time.
        By default the rows are in memory.

    Attributes
    ----------
    hits, misses : int
        Number of samples whose gates were found, and number of those whose gates were computed.

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
        self._tables: dict[str, _Table] = {}  # in order of use, the last used one at the end
        self._lock = threading.RLock()

    def bind(self, dual: DualCopy, *, data: str, samples: int, view: str = "", views: int = 1) -> "BoundGates":
        """Return the gates of one data set under the present structure of ``dual``.

        Parameters
        ----------
        dual : DualCopy
            Computes the gates that are not cached.
        data : str
            Name of the images as they enter the network, that is of data set *and* input pipeline; use `digest`.
        samples : int
            Number of samples; they are numbered from 0.
        view : str
            Name of a deterministic variant of the samples, such as ``"flipped"``, or of a set of numbered
            variants, such as ``"flip"``. Each name has rows of its own.
        views : int
            Number of variants, numbered from 0; there is a row for each sample in each of them.
        """
        return BoundGates(self, dual, data=data, samples=samples, view=view, views=views)

    @property
    def nbytes(self) -> int:
        """Bytes that are reserved for rows."""
        with self._lock:
            return sum(table.rows.nbytes for table in self._tables.values())

    def fetch(self, bound: "BoundGates", samples: Tensor, images: Tensor) -> Gates:
        """Return the gates of a batch, see `BoundGates.of`; ``samples`` are numbers of rows."""
        key = bound.key(images)
        with self._lock:
            table = self._tables.pop(key, None)
            if table is not None:
                self._tables[key] = table  # moved to the end
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
        """Create a table with its first batch, or use a file whose rows equal the gates computed now."""
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
        """Close the files of other structures; a file that is needed again is opened again.

        The bytes of a deleted file stay on the disk while the file is open. A process that refreshes its
        structure often would also run out of file descriptors.
        """
        self._tables = {key: table for key, table in self._tables.items() if table.fingerprint == fingerprint}

    def _room_in_memory(self, fingerprint: str, wanted: int) -> int:
        """Return the free bytes, after deleting tables of other structures, least recently used first."""
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
        self.rows = samples * views  # the row of a sample is `view * samples + sample`
        self._samples = samples
        self._cache = cache
        self._name = (self.fingerprint, data, view, samples, torch.__version__)

    def of(self, samples: Tensor, images: Tensor, views: Tensor | None = None) -> Gates:
        """Return the gates of a batch; those that are not cached are computed and stored.

        Parameters
        ----------
        samples : Tensor
            int64, on the CPU: the numbers of the samples.
        images : Tensor
            The images of these samples, in the same order, as they enter the network.
        views : Tensor, optional
            int64, on the CPU: the number of the view of each sample; 0 by default.

        Raises
        ------
        GateMismatchError
            If the network takes another branch for another batch: the gates of a sample then depend on its batch.
        """
        return self._cache.fetch(self, samples if views is None else views * self._samples + samples, images)

    def key(self, images: Tensor) -> str:
        """Return the key of the gates of ``images``: a hash of everything that their bits depend on."""
        device = images.device.type
        precision = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else str(images.dtype)
        form = (precision, tuple(images.shape[1:]), is_channels_last(images), device)
        return hashlib.sha256(repr((*self._name, *form)).encode()).hexdigest()


def bind(
    cache: GateCache | None, model: QuantitativeCopy, images: Images, *, view: str = "", views: int | None = 1
) -> BoundGates | None:
    """Return the cached gates of ``images`` under the present structure of ``model``, or None.

    It is None if there is no cache or its budget is 0, if the model has its own ReLUs, and if ``views`` is None,
    which stands for more views than can be cached. ``view`` and ``views`` are those of `GateCache.bind`.
    """
    if cache is None or cache.max_bytes == 0 or not isinstance(model, DualCopy) or not model.gated or views is None:
        return None
    return cache.bind(model, data=digest(images), samples=len(images), view=view, views=views)


def digest(images: Images) -> str:
    """Return a name for ``images`` that differs between data sets and between input pipelines.

    The name of a tensor is a hash of its bytes; `LazyImages` have a ``digest``.
    """
    if not isinstance(images, Tensor):
        return images.digest
    values = images.detach().cpu().contiguous()
    head = f"{values.dtype}|{tuple(values.shape)}|".encode()
    return hashlib.sha256(head + values.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()


def _record(dual: DualCopy, images: Tensor) -> Gates:
    """Compute the gates of ``images`` in a batch of at least `SMALLEST_BATCH`, padded by repeating images."""
    count = len(images)
    if count < SMALLEST_BATCH:
        images = images[torch.arange(SMALLEST_BATCH, device=images.device) % count]
    return dual.gates(images)[:count].to(torch.device("cpu"))

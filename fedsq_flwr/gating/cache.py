"""The gate cache: gates depend on the sample and the frozen structure only, so they are computed once.

The cache holds the packed gates of `DualCopy.gates`, one row for each sample. A hit equals a recomputation to the
bit where gates are recorded in batches of one size. In batches of another size, most of all in very small ones, a
sample may differ in a few of millions of bits (docs/explanation/gates.md), so gates are recorded in batches of eight
images or more.
"""

import hashlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fedsq_flwr.gating.dual import DualCopy
from fedsq_flwr.gating.fingerprint import describe
from fedsq_flwr.gating.images import Images
from fedsq_flwr.gating.independence import SMALLEST_BATCH, check_rows
from fedsq_flwr.gating.packed.gates import Gates, Layout
from fedsq_flwr.gating.packed.layout import is_channels_last
from fedsq_flwr.gating.packed.rows import DiskRows, MemoryRows, Rows, file_of, room_on_disk
from fedsq_flwr.gating.support import GateMismatchError
from fedsq_flwr.models.quantitative import QuantitativeCopy

log = logging.getLogger(__name__)


#: What picks samples out of a tensor of samples.
Index = Tensor | slice | Sequence[int] | Sequence[bool]


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
    device_bytes : int
        Budget for rows in an accelerator's memory. The rows of images on an accelerator are there if they fit and
        there is no directory; else on the host, and the rows of each batch are copied, without waiting where the
        accelerator is CUDA.

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

    def __init__(
        self, max_bytes: int = 2**30, directory: Path | str | None = None, *, device_bytes: int = 2**31
    ) -> None:
        for name, budget in (("max_bytes", max_bytes), ("device_bytes", device_bytes)):
            if budget < 0:
                raise ValueError(f"{name}={budget}: must be at least 0")
        self.max_bytes = max_bytes
        self.device_bytes = device_bytes
        self.directory = None if directory is None else Path(directory)
        self.hits = 0
        self.misses = 0
        self._tables: dict[str, _Table] = {}  # in order of use, the last used one at the end
        self._checked: set[str] = set()  # networks and forms of images that `check_rows` has passed
        self._lock = threading.RLock()

    def bind(self, dual: DualCopy, *, data: str, samples: int, view: str = "", views: int = 1) -> "BoundGates":
        """Return the gates of one data set under the present structure of ``dual``; bind anew when it changes.

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

        Raises
        ------
        ValueError
            If the dual copy is not gated, ``samples`` is negative, or there are no views.
        """
        if not dual.gated:
            raise ValueError("the dual copy is not gated, so it has no gates to cache")
        if samples < 0 or views < 1:
            raise ValueError(f"samples={samples}, views={views}: must be at least 0 and at least 1")
        return BoundGates(self, dual, data=data, samples=samples, view=view, views=views)

    @property
    def nbytes(self) -> int:
        """Bytes that are reserved for rows, wherever they are."""
        with self._lock:
            return sum(table.rows.nbytes for table in self._tables.values())

    def fetch(self, bound: "BoundGates", samples: Tensor, images: Tensor) -> Gates:
        """Return the gates of a batch, see `BoundGates.of`; ``samples`` are numbers of rows, int64."""
        key = bound.key(images)
        with self._lock:
            table = self._tables.pop(key, None)
            if table is not None:
                self._tables[key] = table  # moved to the end
        if table is None:
            self._check(bound.dual, images)
            return self._begin(key, bound, samples, _record(bound, images))
        with self._lock:
            known = table.rows.known(samples)
            all_known = bool(known.all())
            here, missing = (torch.from_numpy(np.flatnonzero(which)) for which in (known, ~known))
            found = table.rows.take(samples if all_known else samples[here])
            self.hits += len(found)
        if all_known:
            return Gates(table.layout, found)
        computed = _record(bound, images[missing.to(images.device)])
        if computed.layout != table.layout:
            raise GateMismatchError(
                "the network takes another branch for other batches, so its gates cannot be cached sample by sample: "
                "do without the gate cache"
            )
        self._keep(table, samples[missing], computed)
        device = found.device
        rows = torch.empty((len(samples), found.shape[1]), dtype=torch.uint8, device=device)
        rows.index_copy_(0, here.to(device), found)
        rows.index_copy_(0, missing.to(device), computed.rows.to(device))
        return Gates(table.layout, rows)

    def _begin(self, key: str, bound: "BoundGates", samples: Tensor, computed: Gates) -> Gates:
        """Create a table with its first batch, or use a file whose rows equal the gates computed now."""
        with self._lock:
            table = self._tables.get(key) or self._open(key, bound, computed)
            self._tables[key] = table
            known = torch.from_numpy(np.flatnonzero(table.rows.known(samples)))
            expected = computed.rows[known.to(computed.rows.device)].to(table.rows.device)
            if len(known) and not torch.equal(table.rows.take(samples[known]), expected):
                log.warning("gate cache: %s hold other gates than are computed here; they are made again", key[:24])
                table.rows.forget()
        self._keep(table, samples, computed)
        return computed

    def _check(self, dual: DualCopy, images: Tensor) -> None:
        """Check once, for a network and a form of images, that rows can be cached; not again for other weights."""
        network = describe(dual.structural, head=dual.head, pool_gates=dual.pool_gates)
        checked = hashlib.sha256(repr((network, *_form(images))).encode()).hexdigest()
        if checked not in self._checked:
            check_rows(dual, images)
            self._checked.add(checked)

    def _keep(self, table: _Table, samples: Tensor, computed: Gates) -> None:
        fits = torch.from_numpy(np.flatnonzero(samples.numpy() < table.rows.capacity))
        kept = computed.rows if len(fits) == len(samples) else computed.rows[fits.to(computed.rows.device)]
        with self._lock:
            table.rows.put(samples[fits], kept)
            self.misses += len(samples)

    def _open(self, key: str, bound: "BoundGates", computed: Gates) -> _Table:
        row_bytes = computed.rows.shape[1]
        path = file_of(self.directory, bound.fingerprint, key) if self.directory else None
        wanted = bound.rows * (row_bytes if path is None else DiskRows.stride(row_bytes))
        own, host = computed.rows.device, torch.device("cpu")
        if path is None:
            if own != host and wanted <= self._room_in_memory(bound.fingerprint, wanted, own):
                return _Table(bound.fingerprint, computed.layout, MemoryRows(bound.rows, row_bytes, own))
            room = self._room_in_memory(bound.fingerprint, wanted, host)
        else:
            self._let_go(bound.fingerprint)
            room = room_on_disk(path, wanted, self.max_bytes)
        capacity = bound.rows if wanted <= room else room * bound.rows // wanted
        if path is None or capacity == 0:
            rows = MemoryRows(capacity, row_bytes, pinned=own.type == "cuda")
            return _Table(bound.fingerprint, computed.layout, rows)
        return _Table(bound.fingerprint, computed.layout, DiskRows(path, capacity, row_bytes))

    def _let_go(self, fingerprint: str) -> None:
        """Close the files of other structures; a file that is needed again is opened again.

        The bytes of a deleted file stay on the disk while the file is open. A process that refreshes its
        structure often would also run out of file descriptors.
        """
        self._tables = {key: table for key, table in self._tables.items() if table.fingerprint == fingerprint}

    def _room_in_memory(self, fingerprint: str, wanted: int, device: torch.device) -> int:
        """Return the free bytes on ``device``, after deleting tables of other structures, the oldest first."""
        there = {key: table for key, table in self._tables.items() if table.rows.device == device}
        used = sum(table.rows.nbytes for table in there.values())
        budget = self.max_bytes if device.type == "cpu" else self.device_bytes
        for key, table in there.items():
            if used + wanted > budget and table.fingerprint != fingerprint:
                del self._tables[key]
                used -= table.rows.nbytes
        return max(0, budget - used)


class BoundGates:
    """The gates of one data set under one structure, as `GateCache.bind` returns them."""

    def __init__(self, cache: GateCache, dual: DualCopy, *, data: str, samples: int, view: str, views: int) -> None:
        self.dual = dual
        self.fingerprint = dual.fingerprint
        self.view = view
        self.rows = samples * views  # the row of a sample is `view * samples + sample`
        self._numbers = torch.arange(samples)
        self._views = views
        self._cache = cache
        weights = ("weights channels last",) if _has_channels_last(dual.structural) else ()
        self._name = (self.fingerprint, data, view, samples, torch.__version__, *weights)
        self._keys: dict[tuple[object, ...], str] = {}

    def of(self, samples: Index, images: Tensor, views: Tensor | None = None) -> Gates:
        """Return the gates of a batch; those that are not cached are computed and stored.

        Parameters
        ----------
        samples : Tensor, slice or sequence of int
            What picks the images of this batch out of all images, as in ``all_images[samples]``: numbers of samples
            (negative ones count from the end), a mask, or a slice.
        images : Tensor
            The images of these samples, in the same order, as they enter the network; at least one.
        views : Tensor, optional
            int64: the number of the view of each sample; 0 by default.

        Raises
        ------
        GateMismatchError
            If the gates of an image depend on its batch, as in a network that takes another branch for another
            batch; or if the structure has changed since the gates were bound.
        UnsupportedActivationError
            If the gates depend on the head, so that the fingerprint does not name them.
        ValueError
            If ``samples`` or ``views`` do not pick a row for each image.
        """
        self.verify()
        return self._cache.fetch(self, self._places(samples, views, len(images)), images)

    def verify(self) -> None:
        """Raise GateMismatchError unless the structure is the one that the gates were bound under."""
        if self.dual.fingerprint != self.fingerprint:
            raise GateMismatchError(
                f"the structure is no longer {self.fingerprint[:12]}..., under which the gates were bound: bind anew"
            )

    def key(self, images: Tensor) -> str:
        """Return the key of the gates of ``images``: a hash of everything that their bits depend on."""
        form = _form(images)
        if form not in self._keys:
            self._keys[form] = hashlib.sha256(repr((*self._name, *form)).encode()).hexdigest()
        return self._keys[form]

    def _places(self, samples: Index, views: Tensor | None, count: int) -> Tensor:
        """Return the rows of a batch of ``count`` images, int64 on the CPU."""
        total = len(self._numbers)
        needed = f"needed is one of {total} samples for each of {count} images, by whole numbers, a mask or a slice"
        try:
            picked = self._numbers[samples if isinstance(samples, slice) else torch.as_tensor(samples).cpu()]
        except (IndexError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"samples: {error}; {needed}") from error
        if picked.shape != (count,) or count == 0:
            raise ValueError(f"samples: they pick {tuple(picked.shape)}; {needed}")
        if views is None:
            return picked
        view = torch.as_tensor(views, device="cpu")
        numbers = view.numpy()
        if (
            view.shape != picked.shape
            or view.dtype != torch.int64
            or not 0 <= numbers.min() <= numbers.max() < self._views
        ):
            raise ValueError(f"views: must be {count} whole numbers from 0 to {self._views - 1}")
        return view * total + picked


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


def _has_channels_last(network: nn.Module) -> bool:
    """Return whether weights are in channels-last format: activations then are too, whatever the images are."""
    return any(is_channels_last(tensor) for tensor in (*network.parameters(), *network.buffers()))


def _form(images: Tensor) -> tuple[object, ...]:
    """Return what the bits of gates depend on beside network and values: precision, shape, memory format, device."""
    device = images.device.type
    precision = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else str(images.dtype)
    return precision, tuple(images.shape[1:]), is_channels_last(images), device


def _record(bound: BoundGates, images: Tensor) -> Gates:
    """Compute the gates of ``images`` in a batch of at least `SMALLEST_BATCH`, padded by repeating images."""
    count = len(images)
    if count < SMALLEST_BATCH:
        images = images[torch.arange(SMALLEST_BATCH, device=images.device) % count]
    gates = bound.dual.gates(images)[:count]
    bound.verify()  # the pass may have changed the structure, or shown that it has no fingerprint
    return gates

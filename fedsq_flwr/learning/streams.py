"""CUDA streams: silos that train side by side in threads do not queue up behind each other's kernels."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class WorkerStreams:
    """A CUDA stream for each thread that trains; nothing on other devices.

    Work of a thread comes after all that the common stream of its device was given before, such as the copying of
    images. What the common stream is given afterwards comes after the work of the thread. So tensors may go from one
    piece of work to the next, whichever threads do it.
    """

    def __init__(self) -> None:
        self._own = threading.local()

    @contextmanager
    def on(self, device: torch.device) -> Iterator[None]:
        """Do the work of the block on this thread's stream of ``device``."""
        if device.type != "cuda":
            yield
            return
        common, own = torch.cuda.current_stream(device), self._stream(device)
        own.wait_stream(common)
        try:
            with torch.cuda.stream(own):
                yield
        finally:
            common.wait_stream(own)

    def _stream(self, device: torch.device) -> torch.cuda.Stream:
        streams: dict[torch.device, torch.cuda.Stream] = self._own.__dict__.setdefault("streams", {})
        if device not in streams:
            streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return streams[device]

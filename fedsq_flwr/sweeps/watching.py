"""Showing a sweep while Hydra is busy with it: a thread reads the jobs' events as they come."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedsq_flwr.sweeps.outcomes import Inbox
from fedsq_flwr.sweeps.progress import SweepProgress

_POLL_SECONDS = 0.2


@contextmanager
def watched(output: Path, progress: SweepProgress) -> Iterator[Path]:
    """Give a directory for the events of a sweep below ``output``, and show them until the sweep is over."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=output) as made:
        inbox, over = Inbox(Path(made)), threading.Event()

        def watch() -> None:
            last = False
            while not last:
                last = over.wait(_POLL_SECONDS)  # what came before the end is read after it
                for event in inbox.read():
                    progress.add(event)

        watcher = threading.Thread(target=watch, name="sweep", daemon=True)
        progress.start()
        watcher.start()
        try:
            yield Path(made)
        finally:
            over.set()
            watcher.join()
            progress.stop()
